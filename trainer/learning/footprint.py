"""The energy of a training run, measured where the processor tells it, else from a stated power, else unknown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Footprint:
    """What a run took.

    Attributes:
        energy_wh, co2_g: None where they are not known.
        source: `measured (RAPL)`, `stated 65 W`, or `not measured`.
    """

    seconds: float
    energy_wh: float | None
    co2_g: float | None
    source: str


class Meter:
    """Measures from its making on.

    RAPL counts the whole processor package, so other programs on the machine are in it.
    """

    def __init__(
        self, *, package_power_w: float | None = None, grid_g_per_kwh: float | None = None, powercap: Path = POWERCAP
    ) -> None:
        self._power_w = package_power_w
        self._grid = grid_g_per_kwh
        zones = sorted(powercap.glob("intel-rapl:[0-9]")) if powercap.is_dir() else []
        self._packages = [zone for zone in zones if _is_package(zone)]
        self._last = self._read()
        self._joules = 0.0
        self._begun = time.monotonic()

    def sample(self) -> None:
        """Take a reading; call it at least every few minutes, since the counters wrap around."""
        now = self._read()
        if now is None or self._last is None:
            self._last = None
            return
        for (before, _), (after, span) in zip(self._last, now, strict=True):
            self._joules += ((after - before) if after >= before else (after + span - before)) / 1e6
        self._last = now

    def stop(self) -> Footprint:
        """Return the footprint so far."""
        seconds = time.monotonic() - self._begun
        self.sample()
        energy_wh: float | None = None
        source = "not measured"
        if self._last is not None:
            energy_wh, source = self._joules / 3600, "measured (RAPL, whole package)"
        elif self._power_w is not None:
            energy_wh, source = self._power_w * seconds / 3600, f"stated {self._power_w:g} W"
        co2_g = None if energy_wh is None or self._grid is None else energy_wh / 1000 * self._grid
        return Footprint(seconds, energy_wh, co2_g, source)

    def _read(self) -> list[tuple[int, int]] | None:
        """Counter and range in microjoules of each package; None where one cannot be read."""
        try:
            values = [
                tuple(int((package / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
                for package in self._packages
            ]
        except (OSError, ValueError):
            return None
        return [(counter, span) for counter, span in values] or None


def _is_package(zone: Path) -> bool:
    """Some machines have a zone `psys` beside, which counts the packages again."""
    try:
        return (zone / "name").read_text().strip().startswith("package")
    except OSError:
        return False
