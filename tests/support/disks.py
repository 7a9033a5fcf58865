"""Real small file systems: mounted for a test, filled, made read-only, and given room again. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """A mounted tmpfs of a fixed size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, leave_kib: int = 0) -> None:
        """Take all room but so much."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        if leave_kib:
            os.truncate(self._filler, self._filler.stat().st_size - leave_kib * 1024)

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink()

    def take_away(self) -> None:
        """Pull it out: its folder is there, and empty."""
        _run("umount", "--lazy", str(self.folder))

    def read_only(self, yes: bool = True) -> None:
        """Remount it read-only, or for writing again."""
        _run("mount", "-o", "remount,ro" if yes else "remount,rw", str(self.folder))


@contextlib.contextmanager
def small_disk(folder: Path, *, size_kib: int) -> Iterator[Disk]:
    """Mount one at a folder, which is made; it is gone with all that is on it at the end."""
    assert os.geteuid() == 0, "tests of full and read-only disks mount small ones: run them as root"
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "edgewatt-test", str(folder))
    try:
        yield Disk(folder)
    finally:
        if folder.is_mount():
            _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
