"""`edgewatt cost reconcile`: a real invoice explained line by line against ours."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.costbill import wanted_span
from agent.cli.costdata import as_one_invoice, from_option, known_span, month_option, open_plant, to_option
from agent.cli.costmeters import meter_option, read_meters
from agent.cli.costwords import days, gaps, remarks
from agent.cli.output import Payload, emit, facts, json_option, table
from agent.cli.session import Session, pass_session
from agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from agent.planning.invoices.differences import Difference
    from agent.planning.invoices.matching import Side
    from agent.planning.invoices.numbers import Mark
    from agent.planning.invoices.reconciliation import Reconciliation

_HEAD = ("line", "theirs", "ours", "difference", "of quantity", "of price", "rest")


@click.command()
@click.argument("file", metavar="INVOICE.csv", type=click.Path(path_type=Path))
@month_option
@from_option
@to_option
@meter_option
@click.option("--map", "mapped", multiple=True, metavar="THEIRS=OURS", help="Their line is that one of ours; repeat.")
@click.option("--decimal", "mark", type=click.Choice(["point", "comma"]), help="How the file writes decimals.")
@json_option
@pass_session
def reconcile(
    session: Session,
    file: Path,
    month: dt.datetime | None,
    first: dt.datetime | None,
    last: dt.datetime | None,
    meters: tuple[str, ...],
    mapped: tuple[str, ...],
    mark: Mark | None,
    as_json: bool,
) -> None:
    """Explain the utility's invoice line by line against ours.

    INVOICE.csv has the columns name and amount, and where known quantity, unit, price and ours (which of our lines it
    is). Without a month or days it is for the newest billing month that is over. Of meters that the device does not
    count give readings, as for `edgewatt cost bill`: else their lines stand on the invoice alone.

    \b
    Example:
      edgewatt cost reconcile invoice.csv --month 2026-10 --map 'Peak energy=peak'
    """
    from agent.contract.givenfiles import check_file
    from agent.planning.invoices.given import MAX_BYTES, read_given
    from agent.planning.invoices.hypotheses import margins
    from agent.planning.invoices.reconciliation import reconcile as explain

    if (first is None) != (last is None) or (month is not None and first is not None):
        raise click.UsageError("Give --month, or --from and --to, or neither.")
    told = dict(_told(one) for one in mapped)
    check_file(file, MAX_BYTES, todo="Give one invoice at a time")
    try:
        given = read_given(file.read_bytes(), str(file), mark)
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror})", where=str(file), todo="Check path and rights") from exc
    with open_plant(session) as plant:
        tariff = plant.tariff
        if month is None and first is None:
            over = tariff.month_at(tariff.month_start_ms(plant.now_ms) - 1)
            month = dt.datetime.combine(over.first, dt.time())
        span = wanted_span(tariff, month, first, last)
        tariff, words = as_one_invoice(tariff, span)
        slots = plant.slots_for(margins(span), tariff)
        known_span(tariff, [slot for slot in slots if span[0] < slot.end_ms <= span[1]], span, plant.now_ms)
        others, said = read_meters(tariff, meters, margins(span), plant.slot_s)
        found = explain(tariff, slots, span, given, told, others)
        answer = _answer(found)
        emit({**plant.head, "file": str(file), **answer, "notes": [*words, *said, *answer["notes"]]}, as_json, _human)


def _told(text: str) -> tuple[str, str]:
    theirs, sign, ours = text.rpartition("=")
    if not sign or not theirs.strip() or not ours.strip():
        raise click.UsageError(f"--map {text!r} is not THEIRS=OURS.")
    return theirs.strip(), ours.strip()


def _answer(found: Reconciliation) -> dict[str, Any]:
    bill, given = found.bill, found.given
    return {
        "start_ms": bill.start_ms,
        "end_ms": bill.end_ms,
        "currency": bill.currency,
        "theirs": str(given.total),
        "stated": None if given.stated is None else str(given.stated),
        "ours": str(bill.total),
        "low": str(bill.low),
        "high": str(bill.high),
        "difference": str(found.difference),
        "lines": [_line(one) for one in found.differences],
        "causes": {cause: str(amount) for cause, amount in found.causes.items()},
        "findings": list(found.findings),
        "known_slots": bill.known_slots,
        "missing_slots": bill.missing_slots,
        "notes": [*given.notes, *bill.notes],
    }


def _line(one: Difference) -> dict[str, Any]:
    return {
        "line": one.pair.name,
        "kind": None if one.kind is None else str(one.kind),
        "theirs": _side(one.pair.theirs),
        "ours": _side(one.pair.ours),
        "difference": str(one.amount),
        "by_quantity": str(one.by_quantity),
        "by_price": str(one.by_price),
        "rest": str(one.rest),
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    from agent.planning.invoices.differences import plain

    if side is None:
        return None
    return {
        "names": list(side.names),
        "quantity": None if side.quantity is None else plain(side.quantity),
        "unit": side.unit,
        "price": None if side.price is None else plain(side.price),
        "amount": str(side.amount),
    }


def _human(answer: Payload) -> str:
    currency = answer["currency"]
    rows = [_row(line) for line in answer["lines"]]
    rows.append(["sum", answer["theirs"], answer["ours"], answer["difference"], "", "", ""])
    span = days(answer["start_ms"], answer["end_ms"], str(answer["zone"]))
    parts = [
        f"{answer['file']} against {span} by {answer['tariff']}, in {currency}",
        table(_HEAD, rows, to_right=range(1, len(_HEAD))),
        _summary(answer),
        *remarks(answer["findings"]),
    ]
    notes = [*gaps(answer), *answer["notes"]]
    if answer["low"] != answer["high"]:
        notes.append(f"ours is between {answer['low']} and {answer['high']} {currency}")
    return "\n\n".join([*parts, *remarks(notes)])


def _row(line: Payload) -> list[str]:
    theirs, ours = ("-" if side is None else str(side["amount"]) for side in (line["theirs"], line["ours"]))
    name = line["line"]
    if line["theirs"] is not None and line["theirs"]["names"] != [name]:
        name = f"{name} ({', '.join(line['theirs']['names'])})"
    alone = "-" in (theirs, ours)
    parts = ["" if alone else _part(line[part]) for part in ("by_quantity", "by_price", "rest")]
    return [name, theirs, ours, line["difference"], *parts]


def _part(amount: str) -> str:
    return "" if not float(amount) else amount


def _summary(answer: Payload) -> str:
    difference, currency = answer["difference"], answer["currency"]
    if not answer["causes"]:
        return "Both agree to the last digit."
    word = "less" if difference.startswith("-") else "more"
    said = f"They bill {difference.lstrip('-')} {currency} {word} than we do; it is made of"
    if not float(difference):
        said = "The sums agree, by differences that cancel"
    return f"{said}:\n{facts([(f'  {cause}', amount) for cause, amount in answer['causes'].items()])}"
