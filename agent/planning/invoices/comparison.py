"""What the same load costs under other tariffs, and by which kind of charge they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import Bill, bill
from agent.planning.invoices.kinds import Kind, by_kind, kinds_of


@dataclass(frozen=True, slots=True)
class Alternative:
    """One tariff's bill of the load.

    Attributes:
        file: under which it was given.
        months: total by the label of the month in which its billing month begins.
        kinds: total by kind of charge.
    """

    file: str
    name: str
    bill: Bill
    months: Mapping[str, Decimal]
    kinds: Mapping[Kind, Decimal]


def compare(tariffs: Mapping[str, Tariff], slots: Sequence[Slot], span_ms: tuple[int, int]) -> list[Alternative]:
    """Bill [start_ms, end_ms) under each tariff; charges of meters without slots are left out and noted.

    Args:
        tariffs: by file; the first, of file `""`, is what the others are compared with. Of the others the first version
            is taken for the days before it, too: an offer begins tomorrow.
        slots: of the main meter, as far back as known: earlier ones tell earlier demand.
        span_ms: what is billed.

    Raises:
        ConfigError: when the first has no prices for the span, or another has another currency.
        UnavailableError: when prices are missing and nothing tells what they may be.
    """
    currency = next(iter(tariffs.values())).currency
    for file, tariff in tariffs.items():
        if tariff.currency != currency:
            raise ConfigError(
                f"is in {tariff.currency}, the first tariff in {currency}",
                where=file,
                todo="Compare tariffs of one currency",
            )
    return [_alternative(file, tariff, slots, span_ms) for file, tariff in tariffs.items()]


def _alternative(file: str, tariff: Tariff, slots: Sequence[Slot], span_ms: tuple[int, int]) -> Alternative:
    is_early = bool(file) and span_ms[0] < tariff.begin_ms
    try:
        found = bill(tariff.as_if_ever() if is_early else tariff, slots, span_ms=span_ms, partial=True)
    except (ConfigError, UnavailableError) as exc:
        raise type(exc)(exc.what, where=file or exc.where, todo=exc.todo) from exc
    if is_early:
        note = f"its prices of {tariff.versions[0].valid_from} are taken for the days before, too"
        found = dataclasses.replace(found, notes=(note, *found.notes))
    months: dict[str, Decimal] = {}
    for invoice in found.invoices:
        months[invoice.label] = months.get(invoice.label, Decimal(0)) + invoice.total
    return Alternative(file, tariff.name, found, months, by_kind(found.lines, kinds_of(tariff)))
