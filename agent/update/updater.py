"""What this device shall run: has what is assigned fetched, tried, and kept or rolled back.

All decisions are made, and everything is written, in the thread that calls `poll`; only `download.py` has one of its
own. Which assignment counts is `assigned.py`'s to say, which bytes are genuine `repository.py`'s, which model is better
`trial.py`'s, whether a model runs at all the caller's, by the callables it passes in.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.contract import jsonform
from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.bundle import Manifest
from agent.contract.durable import write_durable
from agent.contract.errors import RejectedError, StorageError
from agent.contract.rows import event_row
from agent.contract.trust import FleetTrust
from agent.update import trustnews
from agent.update.assigned import Assigned
from agent.update.download import Download, Fetched
from agent.update.slots import Change, ModelSlots, SlotRecord
from agent.update.trial import Loss, Shadow

if TYPE_CHECKING:
    from agent.update.late import LateRepository
    from agent.update.repository import Floors, Repository, Target

_INSTALLED = {ItemKind.MODEL, ItemKind.TRUST}
_TRIAL = "trial.json"
_BACKOFF_S = (5.0, 300.0)
_SAVE_TRIAL_S = 60.0
_TELL = {
    "candidate": "is on trial",
    "activated": "runs now",
    "refused": "was refused",
    "rolled-back": "failed and was rolled back",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """For people: what the update client is at.

    Attributes:
        counter: of the assignment in force; 0 without one.
        phase: `idle`, `waiting` (for the line, or for the next attempt), `downloading` or `trial`.
        note: what went wrong last; empty when nothing did.
        trial_days: plant days that the present trial has scored.
    """

    counter: int
    phase: str
    note: str
    trial_days: float


class Updater:
    """Brings the model that the centre assigns, tries it, and keeps it or not.

    Invariants:
        - a model below the active one's version runs only by an assignment that allows it; roll-back needs none.
        - what was refused is not fetched again; what could not be reached is, with back-off.
        - after a restart it goes on where it was: in the download, in the trial.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        trust: FleetTrust,
        floors: Floors,
        slots: ModelSlots,
        repository: Repository | LateRepository,
        *,
        check: Callable[[bytes], None],
        loss: Loss,
        shadow_days: float,
        real_ms: Callable[[], int],
        monotonic: Callable[[], float],
        reachable: Callable[[], bool] = lambda: True,
        rng: Callable[[], float] = random.random,
        on_trust: Callable[[FleetTrust], None] = lambda _: None,
    ) -> None:
        """Go on from what is in `folder`.

        Args:
            folder: for the assignment in force and the trial's score.
            device: id of this device.
            trust: the centre's keys; a newer set that is assigned takes their place.
            floors: durable counters that never go back.
            slots: the models on the device.
            repository: where targets come from.
            check: loads a bundle, compares its golden outputs, measures it; raises RejectedError when the bundle is to
                blame. Called in the download's thread.
            loss: scores forecasts in the trial, see `Shadow`.
            shadow_days: plant days of a trial; 0 for none.
            real_ms: real time, for expiry.
            monotonic: seconds, for back-off.
            reachable: whether a download makes sense now.
            rng: uniform numbers in [0, 1).
            on_trust: keeps newer keys of the centre durably, and tells whoever uses them.

        Raises:
            StorageError: when the folder cannot be used.
        """
        self.trust = trust
        self.slots = slots
        self.shadow: Shadow | None = None
        self._folder, self._repository = folder, repository
        self._loss, self._shadow_days = loss, shadow_days
        self._real_ms, self._monotonic, self._reachable, self._rng = real_ms, monotonic, reachable, rng
        self._on_trust = on_trust
        self._download = Download(repository, check)
        self._backoff_s, self._not_before_s = _BACKOFF_S[0], 0.0
        self._note = ""
        self._rows: list[dict[str, Any]] = []  # of kind `update`, without their time
        self._handed = 0
        self._saved_s = float("-inf")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(f"cannot be made ({exc.strerror})", where=str(folder), todo="Mend the rights") from exc
        self._assigned = Assigned(folder, device, floors, trust, real_ms=real_ms)
        candidate = slots.candidate
        if candidate is not None:
            self.shadow = self._new_trial(candidate)
            self._resume_trial(self.shadow)

    def on_assignment(self, payload: bytes) -> None:
        """Judge a message of the `assign` topic and take it on. The one in force, sent again, changes nothing.

        Raises:
            RejectedError: when it is not genuine, for another device, a replay, or expired; nothing has changed then.
            StorageError: when it cannot be kept; the centre's retained message will come again.
        """
        assignment = self._assigned.take(payload, self.trust)
        if assignment is None:
            return
        self._backoff_s, self._not_before_s = _BACKOFF_S[0], 0.0
        for item in assignment.items:
            if item.kind not in _INSTALLED:
                self._tell(f"{item.kind} {item.path} was refused: this version of the agent does not install it", item)

    def poll(self, now_ms: int) -> list[dict[str, Any]]:
        """Take the next step, and return new rows for the `events` stream, with the plant's time `now_ms`.

        The rows of one call are taken as stored when the next call comes.

        Raises:
            StorageError: when the disk fails; the step is taken again by a later call.
        """
        handed, self._handed = self._handed, 0
        self.slots.told(min(handed, len(self.slots.changes)))
        self._collect()
        self._judge_trial()
        self._begin()
        rows, self._rows = [{**row, "time_ms": now_ms} for row in self._rows], []
        changes = self.slots.changes
        self._handed = len(changes)
        return [*rows, *(_event(change, now_ms) for change in changes)]

    def active_failed(self, reason: str) -> None:
        """The active model no longer loads or runs: go back to the previous one, or to none.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        active = self.slots.active
        if active is None:
            return
        try:
            self.slots.read(active)
        except RejectedError as exc:
            # The disk is to blame, not the model: the assignment may bring it back.
            self.slots.roll_back(str(exc), remember=False)
            return
        self.slots.roll_back(reason)
        self._settle_if_assigned(active)

    def candidate_failed(self, reason: str) -> None:
        """The candidate does not load or run: end its trial.

        Raises:
            StorageError: when the disk fails; nothing has changed then.
        """
        candidate = self.slots.candidate
        if candidate is not None:
            self.slots.refuse_candidate(reason)
            self._end_trial()
            self._settle_if_assigned(candidate)

    def status(self) -> UpdateStatus:
        """Return what is going on."""
        if self._download.running:
            phase = "downloading"
        elif self.shadow is not None:
            phase = "trial"
        else:
            phase = "idle" if self._wanted() is None else "waiting"
        return UpdateStatus(self._assigned.counter, phase, self._note, self.shadow.days if self.shadow else 0.0)

    def close(self) -> None:
        """End the download and keep the trial's score.

        Raises:
            StorageError: when the disk fails.
        """
        self._download.close()
        self._save_trial()

    def _wanted(self) -> Item | None:
        here = (self.slots.active, self.slots.candidate)
        return self._assigned.wanted([record.sha256 for record in here if record is not None])

    def _begin(self) -> None:
        """Start a download where something is wanted and can be had."""
        assignment, item = self._assigned.assignment, self._wanted()
        if assignment is None or self._download.running:
            return
        if item is None:
            self._withdraw_candidate(assignment)
            return
        if item.kind is ItemKind.TRUST and item.sha256 == self.trust.digest:
            self._settle(assignment, item.kind)
            self._begin()  # with what else is assigned
            return
        before = self.slots.refused.get(item.sha256)
        if before is not None:
            self.slots.refuse(item.sha256, item.path, 0, f"it was refused before: {before}", remember=False)
            self._settle(assignment)
        elif self._assigned.is_expired(assignment):
            self._tell(f"the assignment of {item.path} expired before it could be installed", item)
            self._settle(assignment, item.kind)
        elif self._monotonic() >= self._not_before_s and self._reachable():
            self._download.begin(assignment, item)

    def _withdraw_candidate(self, assignment: Assignment) -> None:
        """End a trial of something that is no longer assigned."""
        candidate, item = self.slots.candidate, assignment.item(ItemKind.MODEL)
        if candidate is not None and item is not None and candidate.sha256 != item.sha256:
            self.slots.refuse(
                candidate.sha256, candidate.name, candidate.version, "another model is assigned", remember=False
            )
            self._end_trial()

    def _collect(self) -> None:
        """Act on what the download brought."""
        fetched = self._download.take()
        if fetched is None:
            return
        # Until this step is through, a failure of the disk means: once more, later.
        self._not_before_s = self._monotonic() + self._backoff_s * (0.5 + self._rng())
        self._backoff_s = min(self._backoff_s * 2, _BACKOFF_S[1])
        self._repository.keep_floors()
        if fetched.assignment is not self._assigned.assignment:
            return  # a newer assignment came meanwhile
        if fetched.blames_bundle:
            self._refuse(fetched, str(fetched.error))
        elif fetched.error is not None:
            if str(fetched.error) != self._note:
                self._note = str(fetched.error)
                _log.warning("update: %s", self._note)
                if isinstance(fetched.error, RejectedError):
                    self._tell(self._note, fetched.item)
        elif fetched.trust is not None:
            self._take_trust(fetched, fetched.trust)
        elif fetched.target is not None and fetched.manifest is not None:
            self._install(fetched.assignment, fetched.item, fetched.target, fetched.manifest)

    def _take_trust(self, fetched: Fetched, trust: FleetTrust) -> None:
        """Put newer keys of the centre in the place of those that are trusted now."""
        reason = trustnews.objection(self.trust, trust)
        if reason:
            self._refuse(fetched, reason)
            return
        self._on_trust(trust)
        self.trust = trust
        self._tell(f"the centre's keys in {fetched.item.path} are trusted now", fetched.item)
        self._settle(fetched.assignment, ItemKind.TRUST)

    def _refuse(self, fetched: Fetched, reason: str) -> None:
        if fetched.item.kind is ItemKind.TRUST:
            self._tell(f"{fetched.item.path} was refused: {reason}", fetched.item)
            self._settle(fetched.assignment, ItemKind.TRUST)
            return
        self.slots.refuse(fetched.item.sha256, fetched.item.path, 0, reason)
        self._settle(fetched.assignment)

    def _install(self, assignment: Assignment, item: Item, target: Target, manifest: Manifest) -> None:
        reason = self._downgrade(manifest, assignment)
        if reason:
            self.slots.refuse(item.sha256, manifest.name, manifest.version, reason, remember=False)
            self._settle(assignment)
            return
        record = SlotRecord(
            sha256=item.sha256,
            length=item.length,
            name=manifest.name,
            version=manifest.version,
            path=item.path,
            snapshot_version=target.snapshot_version,
            counter=assignment.counter,
            installed_ms=self._real_ms(),
        )
        self._withdraw_candidate(assignment)
        self.slots.install_candidate(target.data, record)
        self._note, self._backoff_s = "", _BACKOFF_S[0]
        self._end_trial()
        self.shadow = self._new_trial(record)

    def _downgrade(self, manifest: Manifest, assignment: Assignment) -> str:
        """Say why the version may not follow the active one, or nothing."""
        active = self.slots.active
        if active is None or assignment.allow_downgrade or manifest.version > active.version:
            return ""
        if manifest.version == active.version and manifest.name != active.name:
            return ""
        label = f"{manifest.name}@{manifest.version}"
        return f"{label} is not newer than {active.label}, and the assignment does not allow a downgrade"

    def _settle(self, assignment: Assignment, kind: ItemKind = ItemKind.MODEL) -> None:
        """Nothing more is to be done for this assignment's item of one kind."""
        self._assigned.settle(assignment, kind)
        self._note, self._backoff_s, self._not_before_s = "", _BACKOFF_S[0], 0.0

    def _settle_if_assigned(self, record: SlotRecord) -> None:
        assignment = self._assigned.assignment
        item = assignment.item(ItemKind.MODEL) if assignment else None
        if assignment is not None and item is not None and item.sha256 == record.sha256:
            self._settle(assignment)

    def _new_trial(self, record: SlotRecord) -> Shadow:
        return Shadow(record.label, min_days=self._shadow_days, loss=self._loss)

    def _resume_trial(self, shadow: Shadow) -> None:
        path = self._folder / _TRIAL
        try:
            data = path.read_bytes()
            shadow.resume(jsonform.loads(data, where=_TRIAL, max_bytes=65_536))
        except FileNotFoundError:
            return
        except (OSError, RejectedError) as exc:
            _log.warning("the trial of %s begins anew: %s", shadow.label, exc)

    def _judge_trial(self) -> None:
        if self.shadow is None:
            return
        verdict = self.shadow.verdict()
        if verdict is None:
            if self._monotonic() - self._saved_s >= _SAVE_TRIAL_S:
                self._save_trial()
            return
        if verdict.accepted:
            self.slots.activate_candidate(verdict.reason)
            self._end_trial()
        else:
            self.candidate_failed(verdict.reason)

    def _save_trial(self) -> None:
        if self.shadow is not None:
            self._saved_s = self._monotonic()
            write_durable(self._folder / _TRIAL, jsonform.dumps(self.shadow.to_json()))

    def _end_trial(self) -> None:
        self.shadow = None
        (self._folder / _TRIAL).unlink(missing_ok=True)

    def _tell(self, text: str, item: Item) -> None:
        self._rows.append(event_row(0, "update", text, item=str(item.kind), path=item.path))


def _event(change: Change, now_ms: int) -> dict[str, Any]:
    text = f"model {change.model}" + (f"@{change.version}" if change.version else "") + f" {_TELL[change.action]}"
    if change.reason:
        text += f": {change.reason}"
    return event_row(
        now_ms,
        "model",
        text,
        action=change.action,
        model=change.model,
        version=change.version,
        reason=change.reason,
    )
