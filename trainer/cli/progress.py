"""Progress of long work on stderr, for every command that trains."""

from __future__ import annotations

import sys
import time

import click

from converter.cli_support import remark

_BAR = 30


class Bar:
    """A bar on a terminal, a line each stage elsewhere."""

    def __init__(self) -> None:
        self._stage = ""
        self._begun = time.monotonic()
        self._shown = 0.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that so many steps of a stage are done."""
        now = time.monotonic()
        if stage != self._stage:
            self.close()
            self._stage, self._begun, self._shown = stage, now, 0.0
        if not self._terminal:
            if done == total:
                remark(f"{stage}: {total} steps in {now - self._begun:.0f} s")
            return
        if done < total and now - self._shown < 0.1:
            return
        self._shown = now
        full = _BAR * done // total
        left = (now - self._begun) / done * (total - done)
        click.echo(f"\r{stage:8} [{'#' * full}{'.' * (_BAR - full)}] {left:4.0f} s left ", nl=False, err=True)

    def close(self) -> None:
        """End the line of a bar."""
        if self._stage and self._terminal:
            click.echo(err=True)
        self._stage = ""
