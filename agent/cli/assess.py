"""`edgewatt assess`: what a measure saves, costs and emits, and when it pays, as distributions. Needs no agent."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import Payload, emit, facts, json_option, local, remark, table
from agent.cli.session import Session, pass_session

if TYPE_CHECKING:
    from agent.contract.slots import Slot
    from agent.planning.assess.billing import BilledYear
    from agent.planning.assess.case import Case
    from agent.planning.assess.compare import Comparison, Outcome, Year
    from agent.planning.assess.distributions import Floats

_FILE = click.Path(path_type=Path)
_SHOWN_DRIVERS = 6
_DAYS = 366
_ROWS = (  # of the table: name, quantity, divided by, unit
    ("fuel bought", "fuel_units", 1, ""),
    ("grid electricity", "grid_kwh", 1000, "MWh"),
    ("energy bought", "energy_kwh", 1000, "MWh"),
    ("losses", "lost_kwh", 1000, "MWh"),
    ("renewable use", "renewable_kwh", 1000, "MWh"),
    ("cost", "cost", 1, "money"),
    ("scope 1", "scope1_kg", 1000, "t CO2e"),
    ("scope 2, average", "scope2_average_kg", 1000, "t CO2e"),
    ("scope 2, marginal", "scope2_marginal_kg", 1000, "t CO2e"),
)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--picture", type=_FILE, help="Write the distributions and the payback curves to this file, as SVG.")
@click.option("--runs", default=5000, show_default=True, help="How often the plant's years are simulated.")
@click.option("--seed", default=1, show_default=True, help="Of the random numbers: the same seed, the same result.")
@click.option("--store", is_flag=True, help="Bill the last year in this device's store, not the mean day of FILE.")
@json_option
@pass_session
def assess(
    session: Session, file: Path, picture: Path | None, runs: int, seed: int, store: bool, as_json: bool
) -> None:
    """Compare the plant of FILE with the measures that it names.

    Simulates fuel, boiler, losses, logistics, weather, load and prices with their uncertainty, and tells what each
    measure changes: energy, renewable use, cost, emissions, and the time until it has paid for itself. Where FILE names
    a tariff, the bill of a year by it stands beside the three published formulas.

    \b
    Example:
      edgewatt assess coal-boiler-plant.toml --picture coal.svg
    """
    from agent.planning.assess.compare import assess as simulate
    from agent.planning.assess.reading import load

    case = load(file)
    if store and case.world.bill is None:
        raise click.UsageError("--store needs a [bill] with a tariff in FILE.")
    if picture is not None:
        from agent.contract.givenfiles import check_replaceable

        check_replaceable(picture, b"<svg ")
    billed = _billed(case, _stored(session) if store else None)
    outcome = simulate(case, runs=runs, seed=seed)
    if picture is not None:
        from agent.cli.assesspicture import draw
        from agent.contract.durable import write_durable

        write_durable(picture, draw(outcome).encode())
        remark(f"picture written to {picture}")
    emit({**_payload(outcome), **billed}, as_json, _human)


def _stored(session: Session) -> list[Slot]:
    from agent.daemon.offline import open_offline_store
    from agent.daemon.views import stored_slots

    with open_offline_store(session.config) as (reader, _):
        return stored_slots(reader, _DAYS)


def _billed(case: Case, slots: list[Slot] | None) -> dict[str, Any]:
    if case.world.bill is None:
        return {"bill": None, "published": None}
    from agent.planning.assess.billing import bill_load, published_values

    made = bill_load(case.world.bill, case.world.currency, slots)
    given = case.world.published
    values = None if given is None else published_values(given, made.imported_kwh)
    published = values and {
        "predicted_kwh": values.predicted_kwh,
        "renewable_kwh": values.renewable_kwh,
        "saving_cost_j_per_kwh": values.saving_cost_j_per_kwh,
    }
    return {"bill": _bill_payload(made), "published": published}


def _bill_payload(made: BilledYear) -> dict[str, Any]:
    bill = made.bill
    return {
        "tariff": made.tariff.name,
        "zone": made.tariff.zone_name,
        "start_ms": bill.start_ms,
        "end_ms": bill.end_ms,
        "lines": [line.to_json() for line in bill.lines],
        "total": str(bill.total),
        "low": str(bill.low),
        "high": str(bill.high),
        "imported_kwh": made.imported_kwh,
        "mean_price_per_kwh": made.mean_price_per_kwh,
        "missing_slots": bill.missing_slots,
        "notes": list(bill.notes),
    }


def _payload(outcome: Outcome) -> dict[str, Any]:
    import numpy as np

    from agent.planning.assess.compare import QUANTILES

    world, price = outcome.case.world, outcome.case.plant.electricity.price_per_kwh
    return {
        "name": world.name,
        "currency": world.currency,
        "runs": outcome.runs,
        "seed": outcome.seed,
        "fuel_unit": str(outcome.case.plant.fuel.unit),
        "quantiles": list(QUANTILES),
        "electricity_price_per_kwh": price.at(np.array(QUANTILES)).tolist(),
        "baseline": _year(outcome.baseline),
        "measures": [_measure(each, outcome.baseline) for each in outcome.comparisons],
    }


def _measure(made: Comparison, before: Year) -> dict[str, Any]:
    after = made.year.items()
    change = {name: after[name] - values for name, values in before.items().items() if name != "fuel_units"}
    return {
        "name": made.measure.head.name,
        "life_years": made.measure.head.life_years,
        "fuel_unit": str(made.measure.plant.fuel.unit),
        "first_year": _year(made.year),
        "change": {name: _spread(values) for name, values in change.items()},
        "investment": _spread(made.investment),
        "payback_years": _spread(made.payback_years),
        "discounted_payback_years": _spread(made.discounted_payback_years),
        "paid_back_share": made.paid_back_share,
        "net_present_value": _spread(made.value[:, -1]),
        "worth_share": made.worth_share,
        "drivers_of_value": dict(made.drivers),
        "drivers_of_emissions": dict(made.emission_drivers),
    }


def _year(year: Year) -> dict[str, Any]:
    return {name: _spread(values) for name, values in year.items().items()}


def _spread(values: Floats) -> list[float | None]:
    """P10, P50 and P90; None is never."""
    from agent.planning.assess.compare import quantiles

    return [value if math.isfinite(value) else None for value in quantiles(values)]


def _human(answer: Payload) -> str:
    blocks = [f"{answer['name']}: {answer['runs']:,} runs, seed {answer['seed']}. P50 (P10 to P90)."]
    blocks += [_comparison(answer, measure) for measure in answer["measures"]]
    if answer["bill"] is not None:
        blocks.append(_bill(answer))
    if answer["published"] is not None:
        blocks.append(_published(answer["published"]))
    return "\n\n".join(blocks)


def _comparison(answer: Payload, measure: Payload) -> str:
    rows = []
    for name, quantity, scale, unit in _ROWS:
        before, after, change = answer["baseline"], measure["first_year"], measure["change"].get(quantity)
        units = (answer["fuel_unit"], measure["fuel_unit"]) if not unit else (unit, unit)
        first, second = (answer["currency"] if each == "money" else each for each in units)
        rows.append(
            [
                name,
                f"{_band(before[quantity], scale)} {first}",
                f"{_band(after[quantity], scale)} {second}",
                "" if change is None else f"{_band(change, scale, sign='+')} {second}",
            ]
        )
    currency, life = answer["currency"], measure["life_years"]
    money = facts(
        [
            ("investment", f"{_band(measure['investment'])} {currency}"),
            ("payback", _years(measure["payback_years"], life)),
            ("discounted", _years(measure["discounted_payback_years"], life)),
            ("pays back in its life", f"{measure['paid_back_share']:.1%}, and discounted {measure['worth_share']:.1%}"),
            ("net present value", f"{_band(measure['net_present_value'])} {currency}"),
            ("value depends on", _drivers(measure["drivers_of_value"])),
            ("emissions saved, on", _drivers(measure["drivers_of_emissions"])),
        ]
    )
    title = f"== {measure['name']}, first year of {life}"
    return f"{title}\n{table(['', 'as it is', 'with the measure', 'change'], rows)}\n{money}"


def _band(values: list[float], scale: float = 1, sign: str = "") -> str:
    low, middle, high = (f"{round(value / scale):{sign if round(value / scale) else ''},}" for value in values)
    return middle if low == high else f"{middle} ({low} to {high})"


def _years(values: list[float | None], life: int) -> str:
    low, middle, high = (f"over {life}" if value is None else f"{value:.1f}" for value in values)
    return f"{middle} years" if low == high else f"{middle} years ({low} to {high})"


def _drivers(found: dict[str, float]) -> str:
    """The strongest, each with its rank correlation."""
    strongest = list(found.items())[:_SHOWN_DRIVERS]
    return ", ".join(f"{name} {value:+.2f}" for name, value in strongest) or "nothing that is spread"


def _bill(answer: Payload) -> str:
    bill, currency = answer["bill"], answer["currency"]
    rows = [[name, quantity, f"{amount:,} {currency}"] for name, quantity, amount in _by_charge(bill["lines"])]
    rows.append(["total", f"{bill['imported_kwh']:,.0f} kWh", f"{Decimal(bill['total']):,} {currency}"])
    span = f"{local(bill['start_ms'], bill['zone'])} to {local(bill['end_ms'], bill['zone'])}"
    lines = [f"== Bill by {bill['tariff']}, {span}", table(["line", "energy", "amount"], rows)]
    if bill["low"] != bill["high"]:
        lines.append(f"It is {Decimal(bill['low']):,} to {Decimal(bill['high']):,} {currency}, as not all is known.")
    lines += [f"({note})" for note in bill["notes"]]
    price, (low, middle, high) = bill["mean_price_per_kwh"], answer["electricity_price_per_kwh"]
    if price is not None:
        simulated = f"the simulation has {middle:.4f} ({low:.4f} to {high:.4f})"
        lines.append(f"That is {price:.4f} {currency}/kWh; {simulated}.")
    return "\n".join(lines)


def _by_charge(lines: list[Payload]) -> list[tuple[str, str, Decimal]]:
    """The lines of all invoices by name, with the energy where they have one."""
    energy_wh, amounts = dict[str, int](), dict[str, Decimal]()
    for line in lines:
        name = line["period"]
        energy_wh[name] = energy_wh.get(name, 0) + line.get("energy_wh", 0)
        amounts[name] = amounts.get(name, Decimal(0)) + Decimal(line["amount"])
    shown = {name: f"{found / 1000:,.0f} kWh" if found else "" for name, found in energy_wh.items()}
    return [(name, shown[name], amount) for name, amount in amounts.items()]


def _published(values: Payload) -> str:
    rows = facts(
        [
            ("predicted electricity use", f"{values['predicted_kwh']:,.1f} kWh"),
            ("renewable use expected", f"{values['renewable_kwh']:,.1f} kWh"),
            ("energy-saving cost", f"{values['saving_cost_j_per_kwh']:,.1f} J/kWh"),
        ]
    )
    return (
        f"== The three published formulas, for the energy billed\n{rows}\n"
        "Their published units do not balance. The bill above is what is paid."
    )
