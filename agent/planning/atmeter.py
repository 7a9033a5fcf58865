"""A forecast told as what is expected at the meter: of gross load less what PV and battery will give; or as planned.

Decides that the band stays that of the load. Pure.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.rows import Forecast


def at_meter(forecast: Forecast, own_kw: Floats) -> Forecast:
    """Return the forecast less what the plant gives itself.

    Every quantile moves by the same, so its band stays that of the load: how sure PV is, it does not say. The peak of
    a day moves, at each level, by as much as the highest slot of that level's path in that day.

    Args:
        forecast: of the gross load.
        own_kw: [steps] PV and battery together, below 0 where the battery takes more than PV gives.
    """
    power_kw = forecast.power_kw - own_kw[:, None]
    peak_kw = forecast.peak_kw.copy()
    per_day = DAY_S // forecast.slot_s
    for day in range(len(peak_kw)):
        part = slice(day * per_day, (day + 1) * per_day)
        peak_kw[day] += power_kw[part].max(axis=0) - forecast.power_kw[part].max(axis=0)
    return dataclasses.replace(forecast, power_kw=power_kw, peak_kw=np.sort(peak_kw, axis=-1))


def as_planned(forecast: Forecast, grid_kw: Floats) -> Forecast:
    """Return what is expected at the meter where a plan is followed.

    Args:
        forecast: of the meter, that the plan was made for.
        grid_kw: [steps] the plan's power at the meter, at the forecast's median.
    """
    return at_meter(forecast, forecast.level(0.5) - grid_kw)
