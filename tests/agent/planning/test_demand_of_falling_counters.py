"""A counter that reads less for a moment is no demand; one that began anew counts from zero."""

import datetime as dt

import pytest

from agent.contract.channels import Channel, Kind, Reading
from agent.planning.demandmeter import DemandMeter
from agent.planning.peakwatch import Terms

COUNTER = Channel("load", "kWh", kind=Kind.COUNTER)
START_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("values", "kwh"),
    [
        ((1000.0, 1001.0, 0.0, 0.0, 1004.0, 1005.0), 5),
        ((1000.0, 1001.0, 1000.9, 1002.0), 2.1),
        ((1000.0, 1001.0, 2.0, 3.0), 4),
        ((2.0, 0.5, 1.5, 2.5), 2.5),
    ],
)
def test_demand_is_what_a_counter_that_fell_really_counted(values, kwh):
    meter = DemandMeter(COUNTER, Terms(900, dt.UTC))
    meter.saw([Reading("load", START_MS + number * 60_000, value) for number, value in enumerate(values)])
    assert meter.measured(START_MS + len(values) * 60_000).energy_kwh == pytest.approx(kwh)
