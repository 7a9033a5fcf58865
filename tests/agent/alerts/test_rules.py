from __future__ import annotations

import dataclasses
import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from agent.alerts.board import AlertBoard
from agent.alerts.finding import Verdict
from agent.alerts.observations import Observations
from agent.alerts.rules.meter import DataMissing
from agent.alerts.rules.peak import PeakAhead
from agent.alerts.rules.upkeep import StoreFailing
from agent.contract.errors import ConfigError
from agent.contract.rows import Forecast, ForecastSource
from tests.support.forecasts import peaks_of

MELBOURNE = ZoneInfo("Australia/Melbourne")
NOW = round(dt.datetime(2014, 10, 15, 10, tzinfo=MELBOURNE).timestamp() * 1000)
HOUR_MS = 3_600_000


def forecast(upper, source=ForecastSource.ACTIVE, origin_ms=NOW):
    upper = np.asarray(upper, float)
    table = np.stack([upper - 60, upper - 30, upper], axis=1)
    return Forecast(origin_ms, 3600, (0.1, 0.5, 0.9), table, peaks_of(table, 3600), source, "plant@3")


def seen(value, now_ms=NOW):
    return Observations(now_ms, value, {}, NOW)


def silence(now_s, last_s=None, since_s=0):
    last = {} if last_s is None else {"power": NOW + last_s * 1000}
    observed = Observations(NOW + now_s * 1000, None, last, NOW + since_s * 1000)
    return DataMissing("power", 900, MELBOURNE).judge(observed)


def test_peak_says_when_how_much_over_and_in_numbers():
    finding = PeakAhead(500, zone=MELBOURNE).judge(seen(forecast([400, 520, 512])))
    assert finding.verdict is Verdict.ON
    assert finding.text == "load may reach 520 kW on Wed 15 Oct 11:00, 20 kW (4.0%) over the limit of 500 kW"
    assert finding.details == {
        "peak_kw": 520.0,
        "peak_at_ms": NOW + HOUR_MS,
        "over_kw": 20.0,
        "threshold_kw": 500,
        "quantile": 0.9,
        "source": "active",
        "model": "plant@3",
    }


def with_peaks(made, upper):
    peaks = np.asarray(upper, float)
    return dataclasses.replace(made, peak_kw=np.stack([peaks - 60, peaks - 30, peaks], axis=1))


def test_peak_is_the_days_own_quantile_not_the_highest_slot():
    made = with_peaks(forecast([400, 480, 450]), [520])
    finding = PeakAhead(500, zone=MELBOURNE).judge(seen(made))
    assert finding.verdict is Verdict.ON
    assert (finding.details["peak_kw"], finding.details["peak_at_ms"]) == (520.0, NOW + HOUR_MS)
    assert PeakAhead(500, quantile=0.5).judge(seen(made)).verdict is Verdict.HOLD  # 490
    assert PeakAhead(500).judge(seen(with_peaks(made, [440]))).verdict is Verdict.OFF


def test_once_a_days_highest_hour_is_over_only_the_slots_left_of_it_count():
    made = with_peaks(forecast([400, 480, 450]), [520])
    assert PeakAhead(500).judge(seen(made, NOW + HOUR_MS)).verdict is Verdict.ON
    finding = PeakAhead(500).judge(seen(made, NOW + 2 * HOUR_MS))
    assert (finding.verdict, finding.details["peak_kw"]) == (Verdict.OFF, 450.0)


def test_of_several_days_the_highest_peak_that_is_ahead_counts():
    made = with_peaks(forecast([*range(400, 424), *range(300, 324), *range(200, 212)]), [505, 530, 510])
    finding = PeakAhead(500).judge(seen(made, NOW + 5 * HOUR_MS))
    assert (finding.details["peak_kw"], finding.details["peak_at_ms"]) == (530.0, NOW + 47 * HOUR_MS)
    finding = PeakAhead(500).judge(seen(made, NOW + 48 * HOUR_MS))
    assert (finding.details["peak_kw"], finding.details["peak_at_ms"]) == (510.0, NOW + 59 * HOUR_MS)


def test_peak_of_a_fallback_forecast_says_so():
    finding = PeakAhead(500).judge(seen(forecast([520], ForecastSource.NAIVE)))
    assert finding.text.endswith("; from a fallback forecast (plant@3)")
    assert finding.details["source"] == "naive"


@pytest.mark.parametrize(
    ("kw", "verdict"),
    [(500.1, Verdict.ON), (500, Verdict.HOLD), (475, Verdict.HOLD), (474.9, Verdict.OFF), (-100, Verdict.OFF)],
)
def test_peak_holds_between_its_limits(kw, verdict):
    assert PeakAhead(500).judge(seen(forecast([kw]))).verdict is verdict


def test_peak_compares_the_level_it_is_given():
    assert PeakAhead(500, quantile=0.5).judge(seen(forecast([520]))).verdict is Verdict.HOLD
    assert PeakAhead(500, quantile=0.5, clear_below_kw=495).judge(seen(forecast([520]))).verdict is Verdict.OFF


def test_peak_that_is_over_does_not_count():
    assert PeakAhead(500).judge(seen(forecast([520, 400]), NOW + HOUR_MS - 1)).verdict is Verdict.ON
    assert PeakAhead(500).judge(seen(forecast([520, 400]), NOW + HOUR_MS)).verdict is Verdict.OFF


def test_peak_without_a_forecast_holds_and_ends_when_its_hours_are_over():
    assert PeakAhead(500).judge(seen(None)).verdict is Verdict.HOLD
    assert PeakAhead(500).judge(seen(forecast([520], origin_ms=NOW - HOUR_MS))).verdict is Verdict.OFF


def test_peak_without_the_level_it_watches_holds():
    assert PeakAhead(500, quantile=0.99).judge(seen(forecast([520]))).verdict is Verdict.HOLD


@pytest.mark.parametrize("limits", [(0, None), (float("nan"), None), (500, 500), (500, 600)])
def test_rejects_limits_that_make_no_sense(limits):
    with pytest.raises(ConfigError, match=r"alerts\."):
        PeakAhead(limits[0], clear_below_kw=limits[1])


def test_silence_beyond_the_limit_is_missing_data():
    assert silence(900, last_s=0).verdict is Verdict.OFF
    finding = silence(1000, last_s=0)
    assert finding.verdict is Verdict.ON
    assert finding.text == (
        "no reading of channel power for 17 min, last at Wed 15 Oct 10:00; check the meter and its connection"
    )
    assert finding.details == {"channel": "power", "silent_s": 1000, "last_reading_ms": NOW}


def test_a_channel_that_never_spoke_is_silent_since_the_start():
    assert silence(900).verdict is Verdict.HOLD
    finding = silence(901)
    assert finding.verdict is Verdict.ON
    assert "for 15 min; check" in finding.text


def test_after_a_restart_a_channel_has_time_to_speak_up():
    # The device was off for ten hours: the last reading is old, and that is not the meter's fault.
    assert silence(36_000, last_s=0, since_s=35_900).verdict is Verdict.HOLD
    assert silence(36_801, last_s=0, since_s=35_900).verdict is Verdict.ON
    assert "10 h" in silence(36_801, last_s=0, since_s=35_900).text


@pytest.mark.parametrize(("seconds", "words"), [(1000, "17 min"), (8000, "2 h"), (700_000, "8 days")])
def test_spans_read_as_people_say_them(seconds, words):
    assert f"for {words}," in silence(seconds, last_s=0).text


def test_rejects_a_silence_of_nothing():
    with pytest.raises(ConfigError):
        DataMissing("power", 0)


def test_a_disk_that_cannot_be_written_is_an_alarm_until_it_has_been_well_for_a_minute():
    rule = StoreFailing()
    failing = rule.judge(Observations(NOW, None, {}, NOW, storage_error="store.db: cannot be used (disk is full)"))
    assert failing.verdict is Verdict.ON
    assert "disk is full" in failing.text
    assert rule.judge(seen(None)).verdict is Verdict.OFF
    board = AlertBoard([rule], [])
    (raised,) = board.update(Observations(NOW, None, {}, NOW, storage_error="full"))
    assert (raised["rule"], raised["state"], raised["severity"]) == ("store-failing", "raised", "critical")
    assert board.update(seen(None, NOW + 30_000)) == []
    assert board.update(seen(None, NOW + 59_000)) == []
    (cleared,) = board.update(seen(None, NOW + 91_000))
    assert cleared["state"] == "cleared"
