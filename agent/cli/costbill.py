"""`edgewatt cost bill` and `edgewatt cost compare`: a span as an invoice, and under other tariffs."""

from __future__ import annotations

import csv
import datetime as dt
import io
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.costdata import (
    Plant,
    Span,
    as_one_invoice,
    days_span,
    from_option,
    known_span,
    month_option,
    month_span,
    months_seen,
    open_plant,
    to_option,
    year_span,
)
from agent.cli.costmeters import meter_option, read_meters
from agent.cli.costwords import amount, days, emitted, gaps, lines_table, measure, remarks
from agent.cli.output import Payload, emit, facts, json_option, table
from agent.cli.session import Session, pass_session

if TYPE_CHECKING:
    from agent.contract.tariff.tariff import Tariff
    from agent.planning.invoices.comparison import Alternative

_FILE = click.Path(path_type=Path)
_CSV_HEAD = ("invoice", "name", "quantity", "unit", "price", "share", "amount")
_BAR = 40


@click.command()
@month_option
@from_option
@to_option
@meter_option
@click.option("--csv", "csv_file", type=_FILE, help="Write the lines to this file, too.")
@json_option
@pass_session
def bill(
    session: Session,
    month: dt.datetime | None,
    first: dt.datetime | None,
    last: dt.datetime | None,
    meters: tuple[str, ...],
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Show the invoice of a billing month, or of some days, as the utility would write it.

    The device counts the tariff's main meter. Of its others (gas, heat, water, steam, reactive energy) give readings,
    in the meter's unit: their charges stand on the same bill. Where these look back (tiers by the year, ratchets) give
    the readings of the earlier months, too.

    \b
    Example:
      edgewatt cost bill --month 2026-10 --csv october.csv
      edgewatt cost bill --month 2026-10 --meter gas=gas.csv --meter heat=heat.csv
    """
    if (month is None) == (first is None) or (first is None) != (last is None):
        raise click.UsageError("Give --month, or --from and --to.")
    with open_plant(session) as plant:
        answer = invoice_answer(plant, month, first, last, meters)
    if csv_file is not None:
        _write_csv(csv_file, answer)
    emit(answer, as_json, invoices_text)


@click.command()
@click.argument("files", metavar="TARIFF.toml...", type=_FILE, nargs=-1, required=True)
@from_option
@to_option
@json_option
@pass_session
def compare(
    session: Session, files: Sequence[Path], first: dt.datetime | None, last: dt.datetime | None, as_json: bool
) -> None:
    """Show what the same load would have cost under other tariffs, a file or folder each.

    Without days it is the last twelve billing months that are over, as far back as this device has measured. What a
    tariff needs and the device does not measure is said.

    \b
    Example:
      edgewatt cost compare offer-a.toml offer-b.toml --from 2026-01-01 --to 2026-09-30
    """
    from agent.contract.tariff.tariff import Tariff
    from agent.planning.invoices.comparison import compare as compare_tariffs

    if (first is None) != (last is None):
        raise click.UsageError("Give both --from and --to, or neither.")
    others = {str(file): Tariff.load(file) for file in files}
    with open_plant(session) as plant:
        tariffs = {"": plant.tariff, **others}
        if first is not None and last is not None:
            span = days_span(plant.tariff, first, last)
            tariffs = {file: as_one_invoice(tariff, span)[0] for file, tariff in tariffs.items()}
            slots = plant.slots_for(span, *tariffs.values())
        else:
            slots = plant.slots_for(year_span(plant.tariff, plant.now_ms), *tariffs.values())
            span = months_seen(plant.tariff, slots, plant.now_ms)
        span, notes = known_span(plant.tariff, slots, span, plant.now_ms)
        found = compare_tariffs(tariffs, slots, span)
        answer = {
            **plant.head,
            "notes": notes if first is not None else [],
            **_compared(found),
            **plant.emissions(slots, span),
        }
    emit(answer, as_json, _comparison)


def invoice_answer(
    plant: Plant,
    month: dt.datetime | None,
    first: dt.datetime | None,
    last: dt.datetime | None,
    meters: Sequence[str] = (),
) -> dict[str, Any]:
    """Bill a month or some days, as far as the device has seen them; `meters` are as `--meter` has them."""
    from agent.planning.billing.bill import bill as make_bill

    span = wanted_span(plant.tariff, month, first, last)
    tariff, words = as_one_invoice(plant.tariff, span)
    slots = plant.slots_for(span, tariff)
    span, notes = known_span(tariff, slots, span, plant.now_ms)
    others, said = read_meters(tariff, meters, span, plant.slot_s)
    found = make_bill(tariff, slots, span_ms=span, meters=others, partial=True).to_json()
    emissions = plant.emissions(slots, span)
    if others and emissions:
        said.append("the emissions are those of electricity alone")
    return {**plant.head, **found, **emissions, "notes": [*words, *notes, *said, *found["notes"]]}


def wanted_span(tariff: Tariff, month: dt.datetime | None, first: dt.datetime | None, last: dt.datetime | None) -> Span:
    """Return what the options say; there is one of them."""
    if month is not None:
        return month_span(tariff, month)
    assert first is not None  # noqa: S101 - the command has refused neither
    assert last is not None  # noqa: S101 - likewise
    return days_span(tariff, first, last)


def invoices_text(answer: Payload) -> str:
    """A bill's invoices, one after the other, and their sum where there are several."""
    currency, zone = answer["currency"], str(answer["zone"])
    parts = []
    for invoice in answer["invoices"]:
        parts += [
            f"Invoice {invoice['month']}: {days(invoice['start_ms'], invoice['end_ms'], zone)} by {answer['tariff']}",
            lines_table(invoice["lines"], currency),
            f"Total {amount(invoice, currency)}",
        ]
    if len(answer["invoices"]) > 1:
        parts.append(f"All invoices {amount(answer, currency)}")
    parts += [facts(pairs) for pairs in [emitted(answer)] if pairs]
    return "\n\n".join([*parts, *remarks([*gaps(answer), *answer["notes"]])])


def _write_csv(path: Path, answer: Mapping[str, Any]) -> None:
    from agent.contract.durable import write_durable
    from agent.contract.givenfiles import check_replaceable

    head = ",".join(_CSV_HEAD)
    check_replaceable(path, head.encode())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    for invoice in answer["invoices"]:
        for line in invoice["lines"]:
            quantity, unit = measure(line)
            row = [line["period"], quantity, unit, line["price"] or "", line.get("share", ""), line["amount"]]
            writer.writerow([invoice["month"], *row])
    write_durable(path, text.getvalue().encode())


def _compared(found: Sequence[Alternative]) -> dict[str, Any]:
    first = found[0]
    return {
        "start_ms": first.bill.start_ms,
        "end_ms": first.bill.end_ms,
        "currency": first.bill.currency,
        "known_slots": first.bill.known_slots,
        "missing_slots": first.bill.missing_slots,
        "tariffs": [
            {
                "file": one.file,
                "name": one.name,
                "amount": str(one.bill.total),
                "low": str(one.bill.low),
                "high": str(one.bill.high),
                "difference": str(one.bill.total - first.bill.total),
                "months": {label: str(total) for label, total in one.months.items()},
                "kinds": {str(kind): str(total) for kind, total in one.kinds.items()},
                "notes": list(one.bill.notes),
            }
            for one in found
        ],
    }


def _comparison(answer: Payload) -> str:
    currency, tariffs = answer["currency"], answer["tariffs"]
    keys = _keys([one["file"] for one in tariffs])
    labels = list(dict.fromkeys(label for one in tariffs for label in one["months"]))
    months = [[label, *(one["months"].get(label, "-") for one in tariffs)] for label in labels]
    months.append(["sum", *(one["amount"] for one in tariffs)])
    kinds = [
        [kind, *(one["kinds"][kind] for one in tariffs)]
        for kind in tariffs[0]["kinds"]
        if any(Decimal(one["kinds"][kind]) for one in tariffs)
    ]
    right = range(1, len(keys) + 1)
    parts = [
        f"{days(answer['start_ms'], answer['end_ms'], str(answer['zone']))}, in {currency}",
        facts([(key, one["name"]) for key, one in zip(keys, tariffs, strict=True)]),
        _bars(keys, tariffs),
        table(["month", *keys], months, to_right=right),
        table(["kind", *keys], kinds, to_right=right),
        *(_difference(key, tariffs[0], one, currency) for key, one in zip(keys[1:], tariffs[1:], strict=True)),
        *(facts(pairs) for pairs in [emitted(answer, "emissions of any")] if pairs),
    ]
    notes = [*gaps(answer), *answer["notes"]]
    notes += [f"{key}: {note}" for key, one in zip(keys, tariffs, strict=True) for note in _open(one)]
    return "\n\n".join([*parts, *remarks(notes)])


def _keys(files: Sequence[str]) -> list[str]:
    """Return short names: `now`, then those of the files, or their paths where two are alike."""
    stems = ["now", *(Path(file).stem for file in files[1:])]
    return [stem if stems.count(stem) == 1 else file or stem for stem, file in zip(stems, files, strict=True)]


def _open(one: Mapping[str, Any]) -> list[str]:
    """Return what is open of a bill."""
    span = [] if one["low"] == one["high"] else [f"between {one['low']} and {one['high']}"]
    return [*span, *one["notes"]]


def _difference(key: str, now: Mapping[str, Any], other: Mapping[str, Any], currency: str) -> str:
    """What another tariff would have changed, in a sentence."""
    change = Decimal(other["difference"])
    if not change:
        return f"{key} would have cost the same."
    changes = {kind: Decimal(total) - Decimal(now["kinds"][kind]) for kind, total in other["kinds"].items()}
    by_size = sorted(((kind, by) for kind, by in changes.items() if by), key=lambda one: -abs(one[1]))
    of_now = f" ({100 * abs(change) / abs(Decimal(now['amount'])):.1f} %)" if Decimal(now["amount"]) else ""
    word = "more" if change > 0 else "less"
    causes = ", ".join(f"{kind} {by:+}" for kind, by in by_size)
    return f"{key} would have cost {abs(change)} {currency}{of_now} {word}: {causes}."


def _bars(keys: Sequence[str], tariffs: Sequence[Mapping[str, Any]]) -> str:
    """A bar for each sum; none for a credit."""
    most = max(Decimal(one["amount"]) for one in tariffs)
    mark = "\u2588" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    lengths = [max(0, round(_BAR * Decimal(one["amount"]) / most)) if most > 0 else 0 for one in tariffs]
    return facts(
        [
            (key, f"{mark * length} {one['amount']}".strip())
            for key, length, one in zip(keys, lengths, tariffs, strict=True)
        ]
    )
