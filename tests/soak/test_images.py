"""Images of a disk keep what was synced, and nothing that never was written."""

import random

import pytest

from tests.soak.images import (
    CREATE,
    MKDIR,
    RENAME,
    SYNC,
    SYNC_FOLDER,
    TRUNCATE,
    UNLINK,
    WRITE,
    Disk,
    Operation,
    crash_points,
)

MANY = 300


def operation(kind, *, file=0, offset=0, data=b"", durable=False):
    return Operation(kind, 0, int(durable), file, offset, data)


def disk(*operations, base=()):
    result = Disk(dict(base))
    for one in operations:
        result.take(one)
    return result


def images(some, current=None):
    return [some.image(current, random.Random(seed)) for seed in range(MANY)]


def begun(*more):
    """A file `a` that is on disk with 4 sectors of ones."""
    return disk(
        operation(CREATE, file=1, data=b"a"),
        operation(WRITE, file=1, data=b"1" * 2048),
        operation(SYNC, file=1),
        operation(SYNC_FOLDER, data=b""),
        *more,
    )


def test_what_was_synced_is_whole_in_every_image():
    assert all(image == {"a": b"1" * 2048} for image in images(begun()))


def test_a_write_that_is_not_synced_is_kept_lost_or_garbled_sector_by_sector():
    found = {image["a"] for image in images(begun(operation(WRITE, file=1, offset=512, data=b"2" * 1024)))}
    assert b"1" * 2048 in found
    assert b"1" * 512 + b"2" * 1024 + b"1" * 512 in found
    assert b"1" * 1024 + b"2" * 512 + b"1" * 512 in found  # the later one only
    assert any(set(content) - {ord("1"), ord("2"), 0} for content in found)
    assert all(content[:512] + content[1536:] == b"1" * 1024 for content in found)


def test_a_write_under_way_is_torn_even_when_it_would_be_durable():
    later = operation(WRITE, file=1, offset=0, data=b"2" * 1024, durable=True)
    assert len({image["a"] for image in images(begun(), current=later)}) > 5
    assert all(image["a"][:1024] == b"2" * 1024 for image in images(begun(later)))


def test_a_truncation_that_is_not_synced_may_be_lost():
    found = {len(image["a"]) for image in images(begun(operation(TRUNCATE, file=1, offset=100)))}
    assert found == {100, 2048}


def test_a_rename_lasts_only_from_the_sync_of_its_folder():
    moved = begun(operation(RENAME, data=b"a\0b"))
    assert {tuple(image) for image in images(moved)} == {("a",), ("b",)}
    moved.take(operation(SYNC_FOLDER, data=b""))
    assert {tuple(image) for image in images(moved)} == {("b",)}


def test_names_come_back_in_the_order_in_which_they_were_changed():
    some = begun(operation(CREATE, file=2, data=b"b"), operation(UNLINK, data=b"a"))
    assert {tuple(sorted(image)) for image in images(some)} == {("a",), ("a", "b"), ("b",)}


def test_a_file_is_gone_with_its_folder():
    inside = [operation(CREATE, file=1, data=b"d/a"), operation(SYNC, file=1), operation(SYNC_FOLDER, data=b"d")]
    some = disk(operation(MKDIR, data=b"d"), *inside)
    assert {tuple(image) for image in images(some)} == {(), ("d/a",)}
    some.take(operation(SYNC_FOLDER, data=b""))
    assert {tuple(image) for image in images(some)} == {("d/a",)}


def test_files_of_before_the_trace_are_durable():
    some = disk(base={"store.db": b"x", "identity/key": b"y"}.items())
    assert all(image == {"store.db": b"x", "identity/key": b"y"} for image in images(some))


@pytest.mark.parametrize("count", [1, 10, 60])
def test_half_of_the_crash_points_are_at_syncs(count):
    trace = [operation(SYNC if at % 10 == 0 else WRITE, file=1) for at in range(1000)]
    points = crash_points(trace, count, random.Random(1))
    assert points == sorted(set(points))
    assert len(points) == count
    assert sum(point % 10 in (0, 1) for point in points) >= count // 2
