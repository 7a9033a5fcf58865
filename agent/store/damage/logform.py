"""How pages lie in SQLite's log: a head, then frames of a head and a page each (SQLite's file format, section 4)."""

from __future__ import annotations

PAGE = 4096
HEAD_BYTES = 32
FRAME_HEAD_BYTES = 24
FRAME_BYTES = FRAME_HEAD_BYTES + PAGE

# Of a frame's head. How many pages the database has is stated where a commit ends, else it is 0.
PAGE_NUMBER, DATABASE_PAGES, SALTS = slice(4), slice(4, 8), slice(8, 16)
