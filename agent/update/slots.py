"""Which models are on the device and which of them runs: bundle files by their hash, and one small file that points.

Every change is one durable replacement of `models.json`; what it does not name is swept away afterwards. Decides
nothing about when to change. Not thread-safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.contract import jsonform
from agent.contract.assignment import MAX_TARGET_BYTES
from agent.contract.durable import fsync_folder, write_durable
from agent.contract.errors import RejectedError, StorageError
from agent.contract.jsonform import Fields

MAX_REFUSED = 64  # remembered; the oldest is forgotten first
MAX_CHANGES = 64
MAX_REASON = 1024  # characters kept of why something was refused
_STATE = "models.json"
_SUFFIX = ".ewb"
_MAX_STATE_BYTES = 262_144
_PLACES = ("active", "previous", "candidate")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What is known of an installed bundle; trial, reboot and roll-back need nothing more.

    Attributes:
        sha256, length: of the bundle.
        name, version: of the model in it.
        path: target path in the repository; empty for a bundle that was put in by hand.
        snapshot_version: repository version that vouched for it.
        counter: of the assignment that asked for it.
        installed_ms: real time of the installation.
    """

    sha256: str
    length: int
    name: str
    version: int
    path: str = ""
    snapshot_version: int = 0
    counter: int = 0
    installed_ms: int = 0

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @classmethod
    def from_json(cls, fields: Fields) -> SlotRecord:
        """Parse the form in the state file.

        Raises:
            RejectedError: when a field is missing or out of range.
        """
        return cls(
            sha256=fields.hexbytes("sha256", 32).hex(),
            length=fields.integer("length", 1, MAX_TARGET_BYTES),
            name=fields.text("name", max_length=64),
            version=fields.integer("version"),
            path=fields.text("path"),
            snapshot_version=fields.integer("snapshot_version"),
            counter=fields.integer("counter"),
            installed_ms=fields.integer("installed_ms"),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to a model and is still to be told.

    Attributes:
        action: `candidate`, `activated`, `refused` or `rolled-back`.
    """

    action: str
    model: str
    version: int
    reason: str = ""


@dataclass(frozen=True)
class _State:
    active: SlotRecord | None = None
    previous: SlotRecord | None = None
    candidate: SlotRecord | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()


class ModelSlots:
    """The active model, the one before it, and the one on trial.

    Invariants:
        - a model that the state names is on disk, whole, before it is named.
        - killed at any point, the state is the one before or the one after.
        - what was refused is remembered by its hash.
        - a change and its notice are written together; a notice stays until `told` is called.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder, or make it where the disk allows: without it there is no model, and none can be taken in.

        Raises:
            StorageError: when it cannot be read.
        """
        self._folder = folder
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        self._state = self._read()
        self._sweep()

    @property
    def active(self) -> SlotRecord | None:
        """The model that runs."""
        return self._state.active

    @property
    def previous(self) -> SlotRecord | None:
        """The model that ran before it."""
        return self._state.previous

    @property
    def candidate(self) -> SlotRecord | None:
        """The model on trial."""
        return self._state.candidate

    @property
    def refused(self) -> Mapping[str, str]:
        """Why bundles were refused, by SHA-256."""
        return self._state.refused

    @property
    def changes(self) -> tuple[Change, ...]:
        """What happened and is still to be told."""
        return self._state.changes

    def read(self, record: SlotRecord) -> bytes:
        """Return the bundle of a record.

        Raises:
            RejectedError: when the file is missing or damaged.
        """
        path = self._path(record.sha256)
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise RejectedError(f"cannot be read ({exc.strerror})", where=str(path)) from exc
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise RejectedError("is damaged", where=str(path), todo="Assign the model again")
        return data

    def install_candidate(self, data: bytes, record: SlotRecord) -> None:
        """Put a bundle in for trial, in place of an older candidate.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        write_durable(self._path(record.sha256), data)
        self._write(replace(self._state, candidate=record), Change("candidate", record.name, record.version))

    def activate_candidate(self, reason: str = "") -> None:
        """Let the candidate run, and keep the model that ran until now: one pointer move.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        record = self._state.candidate
        if record is None:
            raise StorageError("there is no candidate", where=str(self._folder))
        previous = self._state.active if self._state.active != record else self._state.previous
        self._write(
            replace(self._state, active=record, previous=previous, candidate=None),
            Change("activated", record.name, record.version, reason),
        )

    def refuse_candidate(self, reason: str) -> None:
        """Take the candidate out and remember that it was refused.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        record = self._state.candidate
        if record is not None:
            self.refuse(record.sha256, record.name, record.version, reason)

    def refuse(self, sha256: str, name: str, version: int, reason: str, *, remember: bool = True) -> None:
        """Note that a bundle was refused, installed or not.

        Args:
            sha256: of the bundle.
            name: of its model, or its path where that is not known.
            version: of its model; 0 where it is not known.
            reason: why.
            remember: False when the same bytes may be assigned again, for another reason.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        state = self._state
        refused = self._with_refused(sha256, reason) if remember else state.refused
        candidate = None if state.candidate is not None and state.candidate.sha256 == sha256 else state.candidate
        self._write(replace(state, candidate=candidate, refused=refused), Change("refused", name, version, reason))

    def roll_back(self, reason: str, *, remember: bool = True) -> None:
        """Go back to the previous model, or to none.

        Args:
            reason: what was wrong with the active one.
            remember: False when the same bytes may be installed again.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        failed = self._state.active
        if failed is None:
            return
        refused = self._with_refused(failed.sha256, reason) if remember else self._state.refused
        self._write(
            replace(self._state, active=self._state.previous, previous=None, refused=refused),
            Change("rolled-back", failed.name, failed.version, reason),
        )

    def told(self, count: int) -> None:
        """Forget the first `count` changes: they are kept elsewhere now.

        Raises:
            StorageError: when the disk fails; they are then told once more.
        """
        if count:
            self._write(replace(self._state, changes=self._state.changes[count:]))

    def _with_refused(self, sha256: str, reason: str) -> dict[str, str]:
        refused = {known: why for known, why in self._state.refused.items() if known != sha256}
        while len(refused) >= MAX_REFUSED:
            refused.pop(next(iter(refused)))
        return {**refused, sha256: reason[:MAX_REASON]}

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}{_SUFFIX}"

    def _write(self, state: _State, change: Change | None = None) -> None:
        if change is not None:
            change = replace(change, reason=change.reason[:MAX_REASON])
            state = replace(state, changes=(*state.changes, change)[-MAX_CHANGES:])
        body: dict[str, Any] = {"schema": 1, "refused": [list(item) for item in state.refused.items()]}
        for place in _PLACES:
            record: SlotRecord | None = getattr(state, place)
            body[place] = None if record is None else asdict(record)
        body["changes"] = [asdict(change) for change in state.changes]
        write_durable(self._folder / _STATE, jsonform.dumps(body))
        self._state = state
        self._sweep()

    def _read(self) -> _State:
        path = self._folder / _STATE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return _State()
        except OSError as exc:
            raise StorageError(f"cannot be read ({exc.strerror})", where=str(path), todo="Mend the rights") from exc
        try:
            return _parse(data)
        except RejectedError as exc:
            # Only a failing disk does this. Forecasts go on by the naive rung; the assignment brings the model back.
            _log.warning("the list of models is damaged and begun anew: %s", exc)
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".damaged"))
            return _State()

    def _sweep(self) -> None:
        """Remove what the state does not name. A failure costs space only."""
        named = {record.sha256 for place in _PLACES if (record := getattr(self._state, place)) is not None}
        swept = False
        try:
            for path in self._folder.iterdir():
                orphan = path.suffix == _SUFFIX and path.stem not in named
                if orphan or path.suffix == ".tmp":
                    path.unlink()
                    swept = True
            if swept:
                fsync_folder(self._folder)
        except OSError as exc:
            _log.warning("old models cannot be removed from %s: %s", self._folder, exc.strerror)


def _parse(data: bytes) -> _State:
    fields = Fields(jsonform.loads(data, where=_STATE, max_bytes=_MAX_STATE_BYTES), _STATE)
    records = {
        place: None if fields.raw(place) is None else SlotRecord.from_json(fields.child(place)) for place in _PLACES
    }
    refused: dict[str, str] = {}
    for entry in fields.items("refused", MAX_REFUSED):
        if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(part, str) for part in entry):
            fields.fail("refused", "has an entry that is not [sha256, reason]")
        refused[entry[0]] = entry[1]
    changes = tuple(
        Change(
            child.text("action", max_length=16),
            child.text("model"),
            child.integer("version"),
            child.text("reason", max_length=MAX_REASON),
        )
        for child in fields.children("changes", MAX_CHANGES)
    )
    return _State(**records, refused=refused, changes=changes)
