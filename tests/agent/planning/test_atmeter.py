"""A forecast of gross load as one of the meter: quantiles and peaks move by what PV and battery give."""

import numpy as np

from agent.contract.rows import Forecast, ForecastSource
from agent.planning.atmeter import at_meter


def _forecast(days: int = 1) -> Forecast:
    median = np.tile(100.0 + 50.0 * np.sin(np.linspace(0, np.pi, 96)), days)
    levels = np.column_stack([median - 10, median, median + 20])
    peaks = np.tile([145.0, 155.0, 175.0], (days, 1))
    return Forecast(0, 900, (0.1, 0.5, 0.9), levels, peaks, ForecastSource.ACTIVE, "m@1", calibrated=True)


def test_nothing_given_changes_nothing() -> None:
    gross = _forecast()
    net = at_meter(gross, np.zeros(96))
    np.testing.assert_array_equal(net.power_kw, gross.power_kw)
    np.testing.assert_array_equal(net.peak_kw, gross.peak_kw)
    assert (net.model, net.source, net.calibrated) == (gross.model, gross.source, True)


def test_every_quantile_is_less_by_what_is_given_and_more_by_what_is_taken() -> None:
    own_kw = np.linspace(-30, 60, 96)
    np.testing.assert_allclose(
        _forecast().power_kw - at_meter(_forecast(), own_kw).power_kw, own_kw[:, None] * [1, 1, 1]
    )


def test_the_peak_falls_with_the_highest_slot() -> None:
    net = at_meter(_forecast(), np.full(96, 25.0))
    np.testing.assert_allclose(net.peak_kw, [[120.0, 130.0, 150.0]])


def test_what_is_given_off_the_peak_does_not_lower_it() -> None:
    own_kw = np.zeros(96)
    own_kw[:10] = 80.0
    np.testing.assert_allclose(at_meter(_forecast(), own_kw).peak_kw, _forecast().peak_kw)


def test_a_battery_that_charges_can_make_another_hour_the_peak() -> None:
    own_kw = np.zeros(96)
    own_kw[:4] = -100.0
    before, after = _forecast(), at_meter(_forecast(), own_kw)
    rise_kw = after.power_kw.max(axis=0) - before.power_kw.max(axis=0)
    assert (rise_kw > 0).all()
    np.testing.assert_allclose(after.peak_kw[0] - before.peak_kw[0], rise_kw)


def test_each_day_has_its_own_peak() -> None:
    own_kw = np.concatenate([np.zeros(96), np.full(96, 40.0)])
    net = at_meter(_forecast(days=2), own_kw)
    np.testing.assert_allclose(net.peak_kw, [[145.0, 155.0, 175.0], [105.0, 115.0, 135.0]])
