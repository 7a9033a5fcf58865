"""Range algebra against sets of numbers, and marks against their meaning."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agent.contract.acknowledgement import MAX_MARKS, MAX_MISSING, Acknowledgement, Mark
from agent.contract.keys import SigningKey
from agent.contract.messages import MAX_TO_DEVICE_BYTES
from trainer.fleet.coverage import Coverage, Span, intersect, subtract, union
from trainer.fleet.intake import most_ranges

SPANS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["hold", "give_up", "dispute"]), st.integers(1, 50), st.integers(0, 10)), max_size=20
)


def numbers(spans: list[Span]) -> set[int]:
    return {number for first, last in spans for number in range(first, last + 1)}


def is_compact(spans: list[Span]) -> bool:
    return all(after[0] > before[1] + 1 for before, after in itertools.pairwise(spans))


@given(SPANS, SPANS)
def test_ranges_behave_like_sets_and_stay_compact(left: list[Span], right: list[Span]) -> None:
    left, right = union(left, []), union(right, [])
    for result, expected in (
        (union(left, right), numbers(left) | numbers(right)),
        (subtract(left, right), numbers(left) - numbers(right)),
        (intersect(left, right), numbers(left) & numbers(right)),
    ):
        assert numbers(result) == expected
        assert result == sorted(result)
        assert all(first <= last for first, last in result)
    assert is_compact(union(left, right))


@given(STEPS, st.integers(1, 6))
def test_a_mark_covers_exactly_the_safe_rows_below_it(steps: list[tuple[str, int, int]], max_ranges: int) -> None:
    coverage = Coverage()
    held: set[int] = set()
    gaps: set[int] = set()
    disputed: set[int] = set()
    for action, first, length in steps:
        getattr(coverage, action)(first, first + length)
        chosen = set(range(first, first + length + 1))
        if action == "hold":
            held |= chosen
            gaps -= chosen
        elif action == "give_up":
            gaps |= chosen - held
        else:
            disputed |= chosen
    assert (numbers(coverage.held), numbers(coverage.gaps), numbers(coverage.disputed)) == (held, gaps, disputed)
    safe = (held | gaps) - disputed
    for limit in (MAX_MISSING, max_ranges):
        mark = coverage.mark(1, "readings", limit)
        assert {row for row in range(1, 80) if mark.covers(row, row)} == {row for row in safe if row <= mark.high}
        assert len(mark.missing) <= limit
        assert len(mark.gaps) <= limit
        assert numbers(list(mark.gaps)) <= gaps - disputed
    assert coverage.mark(1, "readings").high == max(safe, default=0)


def test_a_mark_ends_before_the_first_hole_that_it_cannot_name() -> None:
    coverage = Coverage()
    for seq in range(2, 2 * MAX_MISSING + 10, 2):
        coverage.hold(seq, seq)
    mark = coverage.mark(1, "readings")
    assert len(mark.missing) == MAX_MISSING
    assert mark.high == 2 * MAX_MISSING
    assert coverage.mark(1, "readings", max_ranges=0).high == 0


def test_nothing_known_gives_an_empty_mark() -> None:
    assert (Coverage().mark(1, "readings").high, Coverage().mark(1, "readings").missing) == (0, ())


def test_a_device_takes_every_acknowledgement_however_full_of_holes() -> None:
    key, far = SigningKey.generate(), 2**53 - 10**6
    for count in (1, 7, 12, MAX_MARKS):
        most = most_ranges(count)
        ranges = tuple((far + 4 * n, far + 4 * n + 1) for n in range(most))
        marks = tuple(Mark(far + number, "forecasts", far, ranges, ranges) for number in range(count))
        ack = Acknowledgement("d" * 32, "c" * 64, far, 2**47, "0" * 16, marks)
        assert 1 <= most <= MAX_MISSING
        assert len(ack.to_bytes(key)) <= MAX_TO_DEVICE_BYTES
