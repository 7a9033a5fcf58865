"""Which bytes of a store's files hold what, so that damage meets every kind of them."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
_WAL_HEAD, _FRAME_HEAD = 32, 24
_RING_RECORDS = 4096  # where the records of the ring begin
KINDS = ("page_header", "pointers", "cell_header", "columns", "blob", "index", "page_one", "wal", "ring")


@dataclass(frozen=True)
class Place:
    """A range of bytes of one file."""

    name: str
    begin: int
    end: int


def flip(folder: Path, place: Place, noise: random.Random) -> str:
    """Flip one to four bits there and say which."""
    path = folder / place.name
    content = bytearray(path.read_bytes())
    told = []
    for _ in range(noise.choice((1, 1, 2, 4))):
        at, bit = noise.randrange(place.begin, place.end), noise.randrange(8)
        content[at] ^= 1 << bit
        told.append(f"{at}.{bit}")
    path.write_bytes(content)
    return f"{place.name} {' '.join(told)}"


def unhinge(path: Path, noise: random.Random) -> None:
    """Damage a database so that it cannot be opened, but none of the rows in it."""
    with path.open("r+b") as file:
        file.write(noise.randbytes(16))
        pages = path.stat().st_size // PAGE
        for _ in range(3):
            file.seek(noise.randrange(1, pages) * PAGE)
            file.write(noise.randbytes(8))


def places(folder: Path, name: str = "store.db") -> dict[str, list[Place]]:
    """Used places by kind. Pages of which the log holds a newer copy are left out: nobody would read them."""
    content = (folder / name).read_bytes()
    wal_path = folder / f"{name}-wal"
    wal = wal_path.read_bytes() if wal_path.exists() else b""
    newer = set(_wal_pages(wal))
    found: dict[str, list[Place]] = {kind: [] for kind in KINDS}
    for page, kind in _pages(folder / name):
        at = (page - 1) * PAGE
        if page in newer or at + PAGE > len(content):
            continue
        if page == 1:
            found["page_one"].append(Place(name, 0, 100))
        for part, begin, end in _parts(content[at : at + PAGE], kind, 100 if page == 1 else 0):
            found["page_one" if page == 1 else part].append(Place(name, at + begin, at + end))
    size = _FRAME_HEAD + PAGE
    for at in range(_WAL_HEAD, len(wal) - size + 1, size):
        found["wal"] += [Place(wal_path.name, at, at + _FRAME_HEAD), Place(wal_path.name, at + _FRAME_HEAD, at + size)]
    found["ring"] = list(_records(folder / f"{name}-ring"))
    return found


def _pages(path: Path) -> Iterator[tuple[int, str]]:
    """Pages in use, and whether each is of a table, an index, or an overflow page; asked of a copy without its log."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
        indexes = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        for name, page, kind in db.execute("SELECT name, pageno, pagetype FROM dbstat").fetchall():
            yield int(page), "overflow" if kind == "overflow" else "index" if name in indexes else "table"


def _wal_pages(wal: bytes) -> Iterator[int]:
    for at in range(_WAL_HEAD, len(wal) - _FRAME_HEAD, _FRAME_HEAD + PAGE):
        if wal[at + 8 : at + 16] == wal[16:24]:  # the salt of this lap
            yield int.from_bytes(wal[at : at + 4], "big")


def _parts(page: bytes, kind: str, head: int) -> Iterator[tuple[str, int, int]]:
    if kind == "overflow":
        yield "blob", 0, PAGE
        return
    interior = page[head] in (2, 5)
    count = int.from_bytes(page[head + 3 : head + 5], "big")
    pointers = head + (12 if interior else 8)
    yield "page_header", head, pointers
    if not count:
        return
    yield "pointers", pointers, pointers + 2 * count
    cells = [int.from_bytes(page[at : at + 2], "big") for at in range(pointers, pointers + 2 * count, 2)]
    for begin, end in zip(sorted(cells), [*sorted(cells)[1:], PAGE], strict=True):
        if kind == "index":
            yield "index", begin, end
        elif end - begin > 80:
            yield "cell_header", begin, begin + 14
            yield "columns", begin + 14, begin + 50
            yield "blob", begin + 50, end
        else:
            yield "cell_header", begin, end


def _records(path: Path) -> Iterator[Place]:
    content = path.read_bytes()
    at = content.find(b"EWR1", _RING_RECORDS)
    while at >= 0:
        length = int.from_bytes(content[at + 12 : at + 16], "big")
        yield Place(path.name, at, min(at + 20 + length, len(content)))
        at = content.find(b"EWR1", at + 1)
