"""When a device judges the dates in its broker's certificate: by a clock that the centre has confirmed."""

import pytest

from agent.daemon.centre import clock_is_confirmed
from agent.daemon.realtime import real_ms
from agent.store.identity import CLOCK_FLOOR
from tests.support.small_centre import MemoryFloors

HOUR_MS = 3_600_000
YEAR_MS = 8_760 * HOUR_MS


@pytest.mark.parametrize(
    ("heard_ago_ms", "signed_ago_ms", "confirmed"),
    [
        (None, HOUR_MS, False),  # nothing was heard since the start
        (0, HOUR_MS // 2, True),
        (HOUR_MS, 2 * HOUR_MS, True),
        (0, 5 * YEAR_MS, False),  # the clock stands years ahead of the centre
        (5 * YEAR_MS, 5 * YEAR_MS, True),  # heard long ago, and the clock has run on since
        (-YEAR_MS, -YEAR_MS, False),  # it was put back since
        (0, -5 * YEAR_MS, False),  # it stands years behind, as without a battery
    ],
)
def test_a_clock_is_confirmed_by_the_centres_word_alone(heard_ago_ms: int | None, signed_ago_ms: int, confirmed: bool):
    now_ms = real_ms()
    heard_ms = None if heard_ago_ms is None else now_ms - heard_ago_ms
    assert clock_is_confirmed(heard_ms, MemoryFloors({CLOCK_FLOOR: now_ms - signed_ago_ms})) is confirmed
