"""`edgewatt status`: is the plant being measured, forecast and reported?"""

from __future__ import annotations

import time

import click

from agent.cli.output import Payload, band_held, emit, facts, json_option, local, span, way_out
from agent.cli.session import Session, pass_session
from agent.control import Operation


@click.command()
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show in a few lines how the agent is.

    \b
    Example:
      edgewatt status --json
    """
    emit(session.read(Operation.STATUS, lambda view: view.status()), as_json, _human)


def _human(answer: Payload) -> str:
    zone = str(answer["zone"])
    share = answer["completeness_24h"]
    power = answer["power_kw"]
    model = answer["model"]
    pairs: list[tuple[str, object]] = [
        ("device", answer["device"]),
        ("state", answer["state"]),
        ("plant time", local(answer["plant_time_ms"], zone)),
        (
            "load",
            "-" if power is None else f"{power:.1f} kW (mean of the slot until {local(answer['slot_end_ms'], zone)})",
        ),
        *_gross(answer),
        ("last reading", local(answer["last_reading_ms"], zone)),
        ("complete", "-" if share is None else f"{share:.1%} of the last 24 h"),
        ("forecast by", f"{model['forecast_by'] or '-'}{'  (fallback)' if model['fallback'] else ''}"),
        ("80 % band", band_held(model["coverage_28d"], model["coverage_slots"])),
        ("open alerts", answer["alerts_open"]),
        *way_out(answer["buffer"]),
    ]
    if answer["certificate"]:
        pairs.append(("certificate", _certificate(answer["certificate"], zone)))
    if answer["live"]:
        pairs += [
            ("up for", span(answer["uptime_ms"])),
            ("memory", f"{answer['rss_mib']:.0f} MiB"),
        ]
        pairs += [(f"trouble: {room}", text) for room, text in answer["troubles"].items()]
    if model["note"]:
        pairs.append(("note", model["note"]))
    return facts(pairs)


def _gross(answer: Payload) -> list[tuple[str, object]]:
    """The load without what PV and battery give; nothing where they are not measured."""
    if "gross_kw" not in answer:
        return []
    gross_kw = answer["gross_kw"]
    return [("gross load", "unknown" if gross_kw is None else f"{gross_kw:.1f} kW (with what PV and battery gave)")]


def _certificate(certificate: Payload, zone: str) -> str:
    now_ms, ends_ms = time.time() * 1000, certificate["ends_ms"]
    if now_ms >= ends_ms:
        return f"ended {local(ends_ms, zone)}: run edgewatt enroll FILE with a new file of the centre"
    text = f"ends {local(ends_ms, zone)}"
    if certificate["asked"]:
        return f"{text}; a newer one was asked for {certificate['asked']} times and did not come yet"
    return f"{text}; a newer one is due" if now_ms >= certificate["renewal_from_ms"] else text
