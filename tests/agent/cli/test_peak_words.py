"""What `edgewatt peak` shows people: one screen, also while little is known."""

from __future__ import annotations

import copy

from agent.cli.peak import _human

NOW = {
    "start_ms": 1_773_147_600_000,  # 10 March 2026, 14:00 in Berlin
    "end_ms": 1_773_148_500_000,
    "now_ms": 1_773_147_900_000,
    "counts": True,
    "energy_kwh": 50.0,
    "covered": 1.0,
    "target_kw": 500.0,
    "rest_kw": 560.0,
    "rest_by": "last minutes",
    "predicted_kw": 573.333,
    "allowable_kw": 450.0,
}
ANSWER = {
    "zone": "Europe/Berlin",
    "demands": [
        {
            "name": "demand",
            "interval_s": 900,
            "chosen_target_kw": 500.0,
            "free_kw": 0.0,
            "per_kw": 10.0,
            "currency": "EUR",
            "interval": NOW,
            "month_peak": {"kw": 480.0, "start_ms": 1_772_600_000_000, "known": 800, "unknown": 3},
            "new_peak": {
                "probability": 0.42,
                "until_ms": 1_773_230_000_000,
                "at_ms": 1_773_200_000_000,
                "kw": 512.0,
                "cost_if_set": 320.0,
                "cost_expected": 134.4,
            },
        }
    ],
}


def changed(**interval: object) -> str:
    answer = copy.deepcopy(ANSWER)
    demand = answer["demands"][0]  # type: ignore[index]
    demand["interval"] |= interval  # type: ignore[index, operator]
    return _human(answer)


def test_an_interval_over_its_limit_is_told_in_one_screen_with_a_bar() -> None:
    text = changed()
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 120
    for part in (
        "2026-03-10 14:00 CET to 14:15",
        "573.3 kW, with 560.0 kW (the load of the last minutes) for the rest: 73.3 kW over",
        "450.0 kW for the 10 min that are left",
        "480.0 kW, from 2026-03-04 05:53 CET; 3 intervals are not known",
        "42% until",
        "about 512.0 kW, 320.00 EUR more this month",
    ):
        assert part in text
    assert "500.0 kW, chosen" in text
    assert "480.0 kW, the month's peak so far" in changed(target_kw=480.0)
    bar = text.splitlines()[-1]
    assert bar.index("|") == 35  # 500 of 573 kW, of forty places
    assert bar.endswith(" 573.3 kW")


def test_what_is_not_known_is_said_and_nothing_is_drawn_of_it() -> None:
    nothing = dict.fromkeys(("target_kw", "rest_kw", "predicted_kw", "allowable_kw"))
    text = changed(**nothing, rest_by="", counts=False)
    for part in ("not billed", "none: this interval is not billed", "unknown: no reading and no forecast"):
        assert part in text
    assert "|" not in text
    assert "whatever the load does" in changed(allowable_kw=-3.0)
    answer = copy.deepcopy(ANSWER)
    demand = answer["demands"][0]  # type: ignore[index]
    demand |= {"new_peak": None, "month_peak": {"kw": None, "start_ms": None, "known": 0, "unknown": 0}}  # type: ignore[operator]
    text = _human(answer)
    assert "month's peak  none yet" in text
    assert "no forecast for what is left of the month" in text
