"""What `edgewatt performance` says: the answers as JSON, and as tables and a drawing for people."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from typing import TYPE_CHECKING, Any

from agent.cli.output import Payload, facts, table
from agent.contract.amounts import amount

if TYPE_CHECKING:
    from agent.planning.performance.baseline import Baseline
    from agent.planning.performance.record import Record
    from agent.planning.performance.savings import Part, Performance


def baseline_answer(made: Baseline) -> dict[str, Any]:
    """A baseline as JSON."""
    fit = made.fit
    terms = [
        {"term": name, "value": value, "standard_error": error, "t": value / error if error > 0 else None}
        for name, value, error in zip(
            fit.form.terms, fit.coefficients.tolist(), fit.standard_errors.tolist(), strict=True
        )
    ]
    told = made.to_json()
    names = ("first", "last", "by", "kind", "bases_c", "statistics", "criterion", "robust", "left_out", "data_sha256")
    return {
        "baseline": {
            **{name: told[name] for name in names},
            "observations": fit.count,
            "sigma_kwh": fit.sigma_kwh,
            "terms": terms,
            "variables_file": made.variables_file,
            "doubts": made.doubts(),
        }
    }


def performance_answer(record: Record, found: Performance, first: dt.date, last: dt.date) -> dict[str, Any]:
    """A reporting period as JSON."""
    low, high = found.interval_kwh
    total, days = found.total, (last - first).days + 1
    series = zip(
        found.observations.ordinals.tolist(),
        found.observations.energy_kwh.tolist(),
        found.expected_kwh.tolist(),
        found.cusum_kwh.tolist(),
        found.band_kwh.tolist(),
        strict=True,
    )
    return {
        **baseline_answer(record.baseline),
        "period": {
            "first": first.isoformat(),
            "last": last.isoformat(),
            "days": total.days,
            "days_left_out": days - total.days,
            "left_out": dict(found.observations.left_out),
            "extrapolated": found.extrapolated,
        },
        "enpi": {
            "ratio": total.ratio,
            "measured_kwh": total.measured_kwh,
            "expected_kwh": total.expected_kwh,
            "measured_kwh_per_day": total.measured_kwh / total.days,
            "per_unit": {
                name: {"measured_kwh": measured, "expected_kwh": expected}
                for name, (measured, expected) in found.intensities().items()
            },
        },
        "savings": {
            "kwh": total.saved_kwh,
            "low_kwh": low,
            "high_kwh": high,
            "share": total.saved_kwh / total.expected_kwh if total.expected_kwh > 0 else None,
            "confidence": found.confidence,
            "proven": found.proven,
            "adjusted_kwh": float(found.adjusted_kwh.sum()),
        },
        "adjustments": [entry.to_json() for entry in record.adjustments],
        "months": [_part(month) for month in found.months()],
        "cusum": [
            {
                "day": dt.date.fromordinal(ordinal).isoformat(),
                "measured_kwh": measured,
                "expected_kwh": expected,
                "cusum_kwh": cusum,
                "band_kwh": band,
            }
            for ordinal, measured, expected, cusum, band in series
        ],
    }


def baseline_words(answer: Payload) -> str:
    """A baseline for people."""
    told = answer["baseline"]
    head = [_baseline_line(told), f"  energy a day = {_equation(told)}", ""]
    rows = [
        [entry["term"], f"{amount(entry['value'], 4)}", f"{entry['standard_error']:.2g}", _number(entry["t"], ".1f")]
        for entry in told["terms"]
    ]
    statistics = told["statistics"]
    figures = [
        ("R2", _number(statistics["r2"], ".3f")),
        ("adjusted R2", _number(statistics["adjusted_r2"], ".3f")),
        ("CV(RMSE)", _number(statistics["cv_rmse"], ".1%")),
        ("NMBE", _number(statistics["nmbe"], "z.2%")),
        ("autocorrelation", _number(statistics["autocorrelation"], ".2f")),
        ("data", f"sha256 {told['data_sha256'][:16]}"),
    ]
    parts = ["\n".join(head), table(["term", "kWh", "error", "t"], rows), "", facts(figures), *_doubts(told)]
    return "\n".join(parts)


def performance_words(answer: Payload, *, plot: bool) -> str:
    """A reporting period for people."""
    period, enpi, savings = answer["period"], answer["enpi"], answer["savings"]
    left_out = _left_out(period["left_out"])
    saved = "saved" if savings["kwh"] >= 0 else "used more"
    share = "" if savings["share"] is None else f" ({abs(savings['share']):.1%})"
    proven = "proven" if savings["proven"] else "not proven: the interval holds zero"
    pairs: list[tuple[str, object]] = [
        ("period", f"{period['first']} to {period['last']}, {_counted(period['days'], 'day')}{left_out}"),
        ("EnPI", f"{_number(enpi['ratio'], '.3f')} (measured over expected)"),
        ("measured", f"{enpi['measured_kwh']:,.0f} kWh, {enpi['measured_kwh_per_day']:,.1f} kWh a day"),
        ("expected", f"{enpi['expected_kwh']:,.0f} kWh"),
        (saved, f"{abs(savings['kwh']):,.0f} kWh{share}, {proven}"),
        (f"{savings['confidence']:.0%} interval", f"{savings['low_kwh']:,.0f} to {savings['high_kwh']:,.0f} kWh saved"),
    ]
    pairs += [
        (f"per {name}", f"{amount(figures['measured_kwh'], 4)} kWh, expected {amount(figures['expected_kwh'], 4)} kWh")
        for name, figures in enpi["per_unit"].items()
    ]
    parts = [_baseline_line(answer["baseline"]), "", facts(pairs), ""]
    months = [
        [
            month["month"],
            month["days"],
            round(month["measured_kwh"]),
            round(month["expected_kwh"]),
            round(month["saved_kwh"]),
            _number(month["ratio"], ".3f"),
        ]
        for month in answer["months"]
    ]
    parts.append(table(["month", "days", "measured (kWh)", "expected (kWh)", "saved (kWh)", "EnPI"], months))
    if answer["adjustments"]:
        rows = [
            [number, entry["first"], entry["last"] or "-", entry["kwh_per_day"], entry["reason"]]
            for number, entry in enumerate(answer["adjustments"], 1)
        ]
        parts += ["", table(["adjustment", "from", "to", "kWh a day", "reason"], rows)]
    if period["extrapolated"]:
        count = _counted(period["extrapolated"], answer["baseline"]["by"])
        parts += ["", f"On {count} a variable lies beyond what the baseline has seen."]
    parts += _doubts(answer["baseline"])
    if plot:
        parts += ["", "CUSUM of savings (line), and how far chance carries it (tint):", _draw(answer["cusum"])]
    return "\n".join(parts)


def _draw(series: list[Payload]) -> str:
    import numpy as np

    from agent.cli.plot import AXIS, draw_band

    cusum = np.array([entry["cusum_kwh"] for entry in series])
    band = np.array([entry["band_kwh"] for entry in series])
    largest = float(np.max([np.abs(cusum).max(), band.max()]))
    unit, scale = ("kWh", 1.0) if largest < 1e4 else ("MWh", 1e-3) if largest < 1e7 else ("GWh", 1e-6)
    width = min(120, shutil.get_terminal_size((80, 24)).columns)
    simple = not (sys.stdout.encoding or "").lower().startswith("utf")
    lines = draw_band(-band * scale, cusum * scale, band * scale, unit=unit, width=width, ascii_only=simple)
    ends = str(series[0]["day"]), str(series[-1]["day"])
    axis = " " * AXIS + ends[0] + ends[1].rjust(max(len(ends[1]) + 1, width - AXIS - len(ends[0])))
    return "\n".join([*lines, axis])


def _part(part: Part) -> dict[str, Any]:
    return {
        "month": part.name,
        "days": part.days,
        "measured_kwh": part.measured_kwh,
        "expected_kwh": part.expected_kwh,
        "saved_kwh": part.saved_kwh,
        "ratio": part.ratio,
    }


def _baseline_line(told: Payload) -> str:
    count = _counted(told["observations"], told["by"])
    kind = "" if told["kind"] == "1P" else f", {told['kind']}"
    return f"Baseline of {told['first']} to {told['last']}: {count}{_left_out(told['left_out'])}{kind}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _left_out(reasons: Payload) -> str:
    if not reasons:
        return ""
    return " (days left out: " + ", ".join(f"{count} for {name}" for name, count in reasons.items()) + ")"


def _equation(told: Payload) -> str:
    bases = iter(told["bases_c"])
    base_c = None
    words: list[str] = []
    for entry in told["terms"]:
        name = "" if entry["term"] == "constant" else f" x {entry['term']}"
        if "degree days" in name:
            base_c = next(bases, base_c)
            name += f" (base {base_c:.1f} C)"
        sign = "- " if entry["value"] < 0 else "+ " if words else ""
        words.append(f"{sign}{amount(abs(entry['value']), 4)}{name}")
    return " ".join(words)


def _doubts(told: Payload) -> list[str]:
    return ["", *(f"Doubt: {doubt}." for doubt in told["doubts"])] if told["doubts"] else []


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
