"""A device's update client on a folder as its repository, with the centre's keys."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent.contract.assignment import Assignment
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.trust import FleetTrust
from agent.update.fetch import FolderFetcher, RepositoryFetcher
from agent.update.repository import Repository
from agent.update.slots import ModelSlots
from agent.update.updater import Updater
from tests.support.bundles import tiny_bytes, with_version
from tests.support.small_centre import MemoryFloors, SmallCentre
from tests.support.tuf_repository import TufRepository
from tests.support.waiting import eventually

NOW = dt.datetime.now(dt.UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000
HOUR = 3_600_000
PLANT = NOW_MS // HOUR * HOUR


def path_of(version: int) -> str:
    return f"models/tiny-plant-{version}.ewb"


def loss(power_kw, truth, quantiles) -> float:
    return float(np.abs(power_kw - truth[:, None]).mean())


class Device:
    """An updater with its repository in a folder and the centre's keys; `boot` starts it anew on the same disk."""

    def __init__(self, tmp_path: Path, *, fetcher: RepositoryFetcher | None = None, shadow_days: float = 1.0):
        self.disk = tmp_path
        self.repo = TufRepository(tmp_path / "repo", now=NOW)
        self.tiny = tiny_bytes()
        self.repo.publish({path_of(version): with_version(self.tiny, version) for version in (1, 2, 3)})
        self.centre, self.floors = SmallCentre(), MemoryFloors()
        self.fetcher = fetcher or FolderFetcher(self.repo.folder)
        self.shadow_days = shadow_days
        self.now_s, self.now_ms = 0.0, NOW_MS
        self.reachable = True
        self.checked: list[bytes] = []
        self.check_error: Exception | None = None
        self.taken: list[FleetTrust] = []
        self.take_error: Exception | None = None
        self.counter = 0
        self.rows: list[dict] = []
        self.updater = self.boot()

    def boot(self) -> Updater:
        repository = Repository(
            self.disk / "tuf", self.repo.root_bytes, self.fetcher, self.floors, now_ms=lambda: self.now_ms
        )
        self.updater = Updater(
            self.disk / "update",
            self.centre.device,
            self.centre.trust(),
            self.floors,
            ModelSlots(self.disk / "models"),
            repository,
            check=self.check,
            loss=loss,
            shadow_days=self.shadow_days,
            real_ms=lambda: self.now_ms,
            monotonic=lambda: self.now_s,
            reachable=lambda: self.reachable,
            rng=lambda: 0.5,
            on_trust=self.take,
        )
        return self.updater

    def take(self, trust: FleetTrust) -> None:
        if self.take_error is not None:
            raise self.take_error
        self.taken.append(trust)

    def check(self, data: bytes) -> None:
        self.checked.append(data)
        if self.check_error is not None:
            raise self.check_error

    def assignment(self, version: int = 1, **changes) -> Assignment:
        self.counter += 1
        item = self.repo.item(path_of(version))
        made = Assignment("press-1", self.counter, self.now_ms, self.now_ms + 7 * DAY_MS, 0, (item,))
        return replace(made, **changes)

    def assign(self, version: int = 1, **changes) -> bytes:
        payload = self.assignment(version, **changes).to_bytes(self.centre.assign_key)
        self.updater.on_assignment(payload)
        return payload

    def settle(self) -> list[dict]:
        """Poll until nothing is under way; return the new rows."""
        fresh: list[dict] = []

        def quiet() -> bool:
            fresh.extend(self.updater.poll(PLANT))
            return self.updater.status().phase in {"idle", "trial", "waiting"}

        eventually(quiet)
        fresh.extend(self.updater.poll(PLANT))
        self.rows += fresh
        return fresh

    def plant_days(self, hours: int, candidate: float, active: float | None, naive: float, start: int = 0) -> None:
        def made(now: int, kw: float | None) -> Forecast | None:
            if kw is None:
                return None
            power_kw = np.full((24, 3), kw)
            return Forecast(now, 3600, (0.1, 0.5, 0.9), power_kw, power_kw[:1], ForecastSource.CANDIDATE, "x@1")

        for hour in range(start, start + hours):
            shadow = self.updater.shadow
            if shadow is None:
                return
            now = PLANT + hour * HOUR
            shadow.add_forecasts(made(now, candidate), made(now, active), made(now, naive))
            shadow.add_truth(now, 100.0)

    def run_version(self, version: int) -> None:
        self.assign(version)
        self.settle()
        self.plant_days(24, 100, None if self.updater.slots.active is None else 100, 150)
        self.settle()
        assert self.updater.slots.active.version == version

    def state(self):
        slots = self.updater.slots
        return (slots.active, slots.previous, slots.candidate, dict(slots.refused), dict(self.floors.values))


def actions(rows: list[dict]) -> list[tuple[str, int]]:
    return [(row["action"], row["version"]) for row in rows if row["kind"] == "model"]
