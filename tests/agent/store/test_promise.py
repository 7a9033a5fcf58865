"""The promise in the README, sentence by sentence: each names the tests that hold it, and says nothing beyond them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = ROOT / "agent" / "store" / "README.md"

# Sentence of the section "The promise" -> where it is tested.
HELD_BY = {
    "`append` returns a ticket; `durable_through()` says which tickets survive a power cut (window 1 s by default for raw "
    "readings, 0 for every other stream).": (
        "agent/store/test_store.py::test_readings_wait_for_the_window_and_then_are_durable",
        "agent/store/test_store.py::test_other_streams_are_durable_at_once_and_take_readings_along",
        "agent/store/test_store.py::test_a_commit_waits_until_the_disk_has_it",
        "agent/store/test_store_crashes.py::test_after_sigkill_every_durable_row_is_there_once_and_sampling_goes_on_without_a_hole",
    ),
    "What is durable stays until the centre's signed acknowledgement, or until it is evicted by the published order after "
    "a durable gap record, so the centre always knows which range is missing and why.": (
        "agent/store/test_eviction.py::test_unacknowledged_raw_leaves_oldest_first_after_a_durable_gap_and_alarms_and_slots_stay",
        "agent/store/test_store_crashes.py::test_whichever_statement_fails_nothing_is_lost_or_doubled",
        "agent/store/test_custody.py::test_unacknowledged_readings_are_never_thinned",
        "agent/sync/test_restored_images.py::test_rows_that_went_with_another_life_of_the_device_are_declared_lost",
    ),
    "The centre holds each reading exactly once.": (
        "agent/sync/test_restored_images.py::test_a_restored_device_image_loses_and_doubles_nothing",
        "agent/sync/test_restored_images.py::test_a_restored_centre_asks_for_what_it_lacks_and_doubles_nothing",
        "agent/sync/test_restored_images.py::test_salvage_doubles_nothing_at_the_centre_and_tells_it_what_is_lost",
    ),
    "A sequence number of an epoch is given out once.": (
        "agent/store/test_identity.py::test_two_lives_of_one_image_share_no_epoch",
        "agent/store/test_store_faults.py::test_an_identity_older_than_the_store_catches_up",
        "agent/store/test_store_model.py::TestStore",
    ),
    "Only durable rows are offered to the centre.": ("agent/store/test_store.py::test_only_durable_rows_are_offered",),
    "Damage costs only the damaged blocks; the device samples again within 10 s and salvages in the background.": (
        "agent/store/damage/test_salvage.py::test_salvage_brings_back_every_block_but_the_damaged_ones_under_their_own_numbers",
        "agent/store/damage/test_salvage_beside.py::test_sampling_goes_on_and_is_durable_in_every_second_of_a_salvage",
        "agent/store/damage/test_salvage_beside.py::test_salvage_goes_on_after_a_kill_at_every_step",
        "agent/store/damage/test_scrub.py::test_a_block_that_does_not_open_is_set_apart_and_declared_without_being_read",
    ),
}


def sentences():
    """The sentences of the section's first paragraph."""
    section = README.read_text().partition("## The promise\n")[2].partition("\n\n")[0]
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(section.split()))


def test_every_sentence_of_the_promise_is_tested_and_no_other_is_claimed():
    assert sentences() == list(HELD_BY)


@pytest.mark.parametrize("place", sorted({place for places in HELD_BY.values() for place in places}))
def test_what_holds_a_sentence_is_a_test_that_runs(place):
    path, _, name = place.partition("::")
    tree = ast.parse((ROOT / "tests" / path).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    names |= {
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert name in names
