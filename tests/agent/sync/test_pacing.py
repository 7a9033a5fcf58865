"""A fleet that comes back at one moment: how many envelopes leave in each second, by the pacing of each device."""

import random
from collections import Counter

import pytest

from agent.sync.pacing import Pacing

DEVICES = 1000
SPREAD_S = 10.0


class Sender:
    """One device with a backlog that never ends; `flights` is when each envelope under way would have been late."""

    def __init__(self, number: int) -> None:
        rng = random.Random(number).random
        self.pacing = Pacing(
            max_in_flight=4,
            resend_after_s=30.0,
            backlog_bytes_s=65_536.0,
            burst_bytes=262_144,
            spread_s=SPREAD_S,
            rng=rng,
        )
        self.pacing.connected(0.0)
        self.flights: list[float] = []

    def turn(self, now_s: float) -> int:
        """How many envelopes leave now."""
        if any(late_s <= now_s for late_s in self.flights):
            self.flights.clear()
            self.pacing.silent(now_s)
        count = max(self.pacing.width(now_s) - len(self.flights), 0)
        self.flights += [now_s + self.pacing.jittered(30.0) for _ in range(count)]
        return count


@pytest.fixture
def fleet():
    return [Sender(number) for number in range(DEVICES)]


def test_a_thousand_devices_that_return_to_a_silent_centre_come_one_by_one_and_ever_less(fleet):
    leave = Counter({now_s: sum(one.turn(now_s) for one in fleet) for now_s in range(0, 1800, 2)})
    assert sum(leave[now_s] for now_s in range(0, 12, 2)) == DEVICES  # each once
    assert max(leave.values()) <= 1.5 * DEVICES * 2 / SPREAD_S
    late = [leave[now_s] for now_s in range(900, 1800, 2)]
    assert sum(late) <= DEVICES * 900 / 240  # half of the longest pause, and the wait for an answer
    assert max(late) <= 5 * sum(late) / len(late)  # the pauses do not fall into step


def test_a_thousand_devices_that_return_send_no_more_than_the_centre_answers_and_a_first_one(fleet):
    queue: list[Sender] = []
    sent = answered = 0
    for now_s in range(120):
        for one in fleet:
            count = one.turn(now_s)
            queue += [one] * count
            sent += count
        for one in queue[:200]:  # what the centre gets done in a second
            if one.flights:
                one.flights.pop(0)
            one.pacing.acknowledged()
        answered += len(queue[:200])
        del queue[:200]
        assert len(queue) <= 4 * DEVICES  # the width of all
    assert sent <= answered + 4 * DEVICES
    assert answered >= 100 * 200  # and it is kept busy
