"""`edgewatt peak`: where the billing interval is heading, what the load may be, and the month's peak."""

from __future__ import annotations

import sys
from typing import Any

import click

from agent.cli.output import Payload, emit, facts, json_option, local
from agent.cli.session import Session, pass_session
from agent.contract.amounts import amount
from agent.control import Operation

_WIDTH = 40
_UNLIKELY = 0.005


@click.command()
@json_option
@pass_session
def peak(session: Session, as_json: bool) -> None:
    """Show where the billing interval is heading, and how likely a new peak of the month is.

    \b
    Example:
      edgewatt peak
    """
    emit(session.read(Operation.PEAK, lambda view: view.peak()), as_json, _human)


def _human(answer: Payload) -> str:
    return "\n\n".join(_demand(demand, str(answer["zone"])) for demand in answer["demands"])


def _demand(demand: dict[str, Any], zone: str) -> str:
    now, month = demand["interval"], demand["month_peak"]
    begin, end = local(now["start_ms"], zone), local(now["end_ms"], zone)
    pairs: list[tuple[str, object]] = [
        ("interval", f"{begin} to {end.split(' ')[1]}{'' if now['counts'] else ', not billed'}"),
        ("so far", f"{amount(now['energy_kwh'], 4)} kWh, {now['covered']:.0%} of the time measured"),
        ("limit", _limit(demand)),
        ("heading for", _heading(now)),
        ("load may be", _allowable(now)),
        ("month's peak", _month(month, zone)),
        *_ahead(demand["new_peak"], demand, zone),
    ]
    drawn = _bar(now)
    return f"{demand['name']}, mean of {demand['interval_s'] // 60} min\n{facts(pairs)}" + (
        f"\n\n{drawn}" if drawn else ""
    )


def _limit(demand: Payload) -> str:
    """Up to where the interval owes nothing more, and why."""
    limit_kw = demand["interval"]["target_kw"]
    if limit_kw is None:
        return "none yet" if demand["interval"]["counts"] else "none: this interval is not billed"
    reasons = {
        demand["chosen_target_kw"]: "chosen",
        demand["month_peak"]["kw"]: "the month's peak so far",
        demand["free_kw"]: "paid for in any case",
    }
    why = reasons.get(limit_kw)
    return f"{limit_kw:,.1f} kW" + (f", {why}" if why else "")


def _heading(now: Payload) -> str:
    if now["predicted_kw"] is None:
        return "unknown: no reading and no forecast"
    by = {"last minutes": "the load of the last minutes", "forecast": "the forecast", "mean so far": "its mean so far"}
    told = f"{now['predicted_kw']:,.1f} kW, with {now['rest_kw']:,.1f} kW ({by[now['rest_by']]}) for the rest"
    if now["target_kw"] is not None and now["predicted_kw"] > now["target_kw"]:
        told += f": {now['predicted_kw'] - now['target_kw']:,.1f} kW over"
    return told


def _allowable(now: Payload) -> str:
    if now["allowable_kw"] is None:
        return "-"
    left = f"for the {(now['end_ms'] - now['now_ms']) / 60_000:.0f} min that are left"
    if now["allowable_kw"] < 0:
        return "the limit will be passed whatever the load does"
    return f"{now['allowable_kw']:,.1f} kW {left}"


def _month(month: Payload, zone: str) -> str:
    if month["kw"] is None:
        return "none yet"
    told = f"{month['kw']:,.1f} kW, from {local(month['start_ms'], zone)}"
    if month["unknown"]:
        told += f"; {month['unknown']} intervals are not known"
    return told


def _ahead(ahead: Payload | None, demand: Payload, zone: str) -> list[tuple[str, object]]:
    if ahead is None:
        return [("new peak", "no forecast for what is left of the month")]
    told = f"{ahead['probability']:.0%} until {local(ahead['until_ms'], zone)}"
    if ahead["probability"] < _UNLIKELY or ahead["kw"] is None:
        return [("new peak", told)]
    would = f"about {ahead['kw']:,.1f} kW"
    if ahead["cost_if_set"] is not None:
        would += f", {ahead['cost_if_set']:,.2f} {demand['currency']}".rstrip() + " more this month"
    return [("new peak", f"{told}, likeliest near {local(ahead['at_ms'], zone)}"), ("it would be", would)]


def _bar(now: Payload) -> str:
    """The interval as a bar up to its limit: measured energy, what is expected, and where the limit is."""
    target_kw, predicted_kw = now["target_kw"], now["predicted_kw"]
    if not target_kw or predicted_kw is None or predicted_kw <= 0:
        return ""
    hours = (now["end_ms"] - now["start_ms"]) / 3.6e6
    whole = max(target_kw, predicted_kw)
    done, ahead, limit = (
        round(_WIDTH * min(1.0, max(0.0, kw / whole))) for kw in (now["energy_kwh"] / hours, predicted_kw, target_kw)
    )
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    full, light = ("#", "-") if plain else ("█", "░")
    bar = full * done + light * max(0, ahead - done)
    bar = bar.ljust(_WIDTH)
    bar = f"{bar[:limit]}|{bar[limit:]}".rstrip()
    return f"{bar} {predicted_kw:,.1f} kW" if ahead > limit else f"{bar} {target_kw:,.1f} kW"
