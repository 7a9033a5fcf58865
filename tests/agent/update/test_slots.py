"""The models on the device survive a cut at any moment."""

import hashlib
import os
from pathlib import Path

import pytest

from agent.contract.errors import RejectedError, StorageError
from agent.update.slots import MAX_REFUSED, ModelSlots, SlotRecord


def bundle(version: int) -> tuple[bytes, SlotRecord]:
    data = b"model %d" % version * 1000
    return data, SlotRecord(hashlib.sha256(data).hexdigest(), len(data), "press", version, f"models/{version}.ewb")


def with_active(folder: Path, *versions: int) -> ModelSlots:
    slots = ModelSlots(folder)
    for version in versions:
        slots.install_candidate(*bundle(version))
        slots.activate_candidate()
    return slots


def view(slots: ModelSlots) -> tuple:
    """What the slots hold, read back whole."""
    return tuple(
        None if record is None else (record.version, slots.read(record))
        for record in (slots.active, slots.previous, slots.candidate)
    )


def versions(slots: ModelSlots) -> tuple:
    return tuple(None if entry is None else entry[0] for entry in view(slots))


def test_begins_empty(tmp_path: Path):
    assert versions(ModelSlots(tmp_path / "m")) == (None, None, None)


def test_a_candidate_runs_after_one_pointer_move_and_the_old_one_is_kept(tmp_path: Path):
    slots = with_active(tmp_path, 1)
    slots.install_candidate(*bundle(2))
    assert versions(slots) == (1, None, 2)
    slots.activate_candidate("better")
    assert versions(slots) == (2, 1, None)
    assert versions(ModelSlots(tmp_path)) == (2, 1, None)
    assert [(change.action, change.version) for change in slots.changes] == [
        ("candidate", 1),
        ("activated", 1),
        ("candidate", 2),
        ("activated", 2),
    ]


def test_keeps_the_files_that_it_names_and_no_others(tmp_path: Path):
    slots = with_active(tmp_path, 1, 2, 3)
    assert versions(slots) == (3, 2, None)
    assert len(list(tmp_path.glob("*.ewb"))) == 2


def test_a_refused_candidate_costs_neither_active_nor_previous(tmp_path: Path):
    slots = with_active(tmp_path, 1, 2)
    data, record = bundle(3)
    slots.install_candidate(data, record)
    slots.refuse_candidate("worse")
    assert versions(slots) == (2, 1, None)
    assert ModelSlots(tmp_path).refused == {record.sha256: "worse"}


def test_rolls_back_to_the_previous_model_then_to_none(tmp_path: Path):
    slots = with_active(tmp_path, 1, 2)
    slots.roll_back("does not load")
    assert versions(slots) == (1, None, None)
    slots.roll_back("nor this")
    assert versions(slots) == (None, None, None)
    slots.roll_back("nothing left")
    assert [change.action for change in slots.changes][-2:] == ["rolled-back", "rolled-back"]
    assert len(slots.refused) == 2


def test_activating_the_active_model_again_does_not_lose_the_previous_one(tmp_path: Path):
    slots = with_active(tmp_path, 1, 2)
    slots.install_candidate(*bundle(2))
    slots.activate_candidate()
    assert versions(slots) == (2, 1, None)


def test_there_must_be_a_candidate_to_activate(tmp_path: Path):
    slots = with_active(tmp_path, 1)
    with pytest.raises(StorageError, match="no candidate"):
        slots.activate_candidate()
    assert versions(slots) == (1, None, None)


def test_sees_a_damaged_bundle(tmp_path: Path):
    slots = with_active(tmp_path, 1)
    path = next(tmp_path.glob("*.ewb"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RejectedError, match="damaged"):
        slots.read(slots.active)
    path.unlink()
    with pytest.raises(RejectedError, match="cannot be read"):
        slots.read(slots.active)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema":1}', b"\xff" * 100])
def test_begins_anew_when_the_list_is_damaged_and_keeps_it_for_study(tmp_path: Path, damage: bytes):
    with_active(tmp_path, 1)
    (tmp_path / "models.json").write_bytes(damage)
    slots = ModelSlots(tmp_path)
    assert versions(slots) == (None, None, None)
    assert (tmp_path / "models.damaged").read_bytes() == damage
    slots.install_candidate(*bundle(2))
    assert versions(ModelSlots(tmp_path)) == (None, None, 2)


def test_remembers_a_bounded_number_of_refusals(tmp_path: Path):
    slots = ModelSlots(tmp_path)
    for index in range(MAX_REFUSED + 10):
        slots.refuse(f"{index:064x}", "m", 1, "bad " * 1000)
    assert len(slots.refused) == MAX_REFUSED
    assert f"{9:064x}" not in slots.refused
    assert ModelSlots(tmp_path).refused == slots.refused


def test_forgets_what_was_told(tmp_path: Path):
    slots = with_active(tmp_path, 1)
    slots.told(1)
    assert [change.action for change in ModelSlots(tmp_path).changes] == ["activated"]


STEPS = {
    "install": lambda slots: slots.install_candidate(*bundle(3)),
    "activate": lambda slots: slots.activate_candidate("better"),
    "refuse": lambda slots: slots.refuse_candidate("worse"),
    "roll back": lambda slots: slots.roll_back("broken"),
    "told": lambda slots: slots.told(2),
}


class PowerCutError(OSError):
    """Nothing happens any more after this."""


@pytest.mark.parametrize("name", STEPS)
def test_a_cut_at_any_point_leaves_the_state_before_or_after(tmp_path: Path, monkeypatch, name: str):
    """Sweep: fail the first call that touches the disk, the second, ... until the step passes."""

    def prepared(folder: Path) -> ModelSlots:
        slots = with_active(folder, 1, 2)
        if name in {"activate", "refuse"}:
            slots.install_candidate(*bundle(3))
        return slots

    reference = prepared(tmp_path / "reference")
    before = (view(reference), reference.changes)
    STEPS[name](reference)
    after = (view(reference), reference.changes)
    assert before != after
    seen = set()
    for number in range(200):
        folder = tmp_path / str(number)
        slots = prepared(folder)
        left = number

        def failing(real):
            def call(*args, **kwargs):
                nonlocal left
                if left == 0:
                    raise PowerCutError(5, "power cut")
                left -= 1
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for module, function in ((os, "open"), (os, "fsync"), (os, "close"), (Path, "replace"), (Path, "unlink")):
                patch.setattr(module, function, failing(getattr(module, function)))
            try:
                STEPS[name](slots)
                finished = left > 0
            except (StorageError, OSError):
                finished = False
        again = ModelSlots(folder)
        state = (view(again), again.changes)
        assert state in (before, after), number
        seen.add(state == after)
        if finished:
            assert state == after
            break
    else:
        pytest.fail("the step never passed")
    assert seen == {False, True}
