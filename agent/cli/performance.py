"""`edgewatt performance`: an energy baseline, and what has been saved since; read from the store, beside the agent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import emit, json_option
from agent.cli.performance_words import baseline_answer, baseline_words, performance_answer, performance_words
from agent.cli.session import Session, pass_session
from agent.contract.errors import ConfigError, StorageError, UnavailableError

if TYPE_CHECKING:
    from agent.planning.performance.observations import Observations

_DAY = click.DateTime(["%Y-%m-%d"])
_FILE = click.Path(path_type=Path)
_FIRST_YEAR, _LAST_YEAR, _MOST_DAYS = 1971, 2199, 10 * 366
_variables = click.option(
    "--variables",
    type=_FILE,
    help="CSV file: timestamp, and a column for each variable (temperature, production, ...).",
)


@click.group()
def performance() -> None:
    """Measure energy performance against a baseline (EnPI, CUSUM, savings; as in ISO 50001).

    \b
    Example:
      edgewatt performance show --plot
    """


@performance.command()
@click.option("--from", "first", type=_DAY, required=True, help="First day of the period.")
@click.option("--to", "last", type=_DAY, required=True, help="Last day of the period.")
@_variables
@click.option("--use", multiple=True, help="Use this column of the file; may be repeated. All where left out.")
@click.option("--by", type=click.Choice(["day", "week"]), default="day", show_default=True, help="Resolution.")
@click.option(
    "--criterion",
    type=click.Choice(["bic", "adjusted-r2"]),
    default="bic",
    show_default=True,
    help="By which the form of the baseline is chosen.",
)
@click.option("--robust", is_flag=True, help="Give less weight to days that are far off.")
@click.option("--replace", is_flag=True, help="Replace the baseline that there is, with its adjustments.")
@json_option
@pass_session
def baseline(
    session: Session,
    first: dt.datetime,
    last: dt.datetime,
    variables: Path | None,
    use: tuple[str, ...],
    by: str,
    criterion: str,
    robust: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Fit a baseline to a period and keep it in the state folder.

    Of all forms (constant, working days, variables of the file, straight or change-point in temperature with base
    temperatures searched) the best by the criterion is taken.

    \b
    Example:
      edgewatt performance baseline --from 2025-01-01 --to 2025-12-31 --variables plant.csv
    """
    from agent.daemon.paths import StatePaths
    from agent.planning.performance.baseline import fit_baseline
    from agent.planning.performance.record import Record

    _check_days(first.date(), last.date())
    path = StatePaths(session.config.device.state_dir).performance
    if path.exists() and not replace:
        raise ConfigError(
            "there is a baseline already",
            where=str(path),
            todo="With --replace another is fitted, and adjustments begin anew",
        )
    observations, given = _observe(session, first.date(), last.date(), by, variables, use)
    made = fit_baseline(
        observations,
        zone=session.config.plant.zone,
        first=first.date(),
        last=last.date(),
        criterion=criterion,
        robust=robust,
        given=given,
        variables_file="" if variables is None else str(variables.absolute()),
    )
    Record(made).save(path)
    emit({**_head(session), **baseline_answer(made)}, as_json, baseline_words)


@performance.command()
@click.option("--from", "first", type=_DAY, help="First day; the one after the baseline where left out.")
@click.option("--to", "last", type=_DAY, help="Last day; the last one that is over where left out.")
@_variables
@click.option(
    "--confidence", type=click.FloatRange(50, 99), default=90.0, show_default=True, help="Of the interval, in percent."
)
@click.option("--plot", is_flag=True, help="Draw the CUSUM of savings with its band.")
@click.option("--picture", type=_FILE, help="Write a picture (SVG) of measured, expected and CUSUM to this file.")
@json_option
@pass_session
def show(
    session: Session,
    first: dt.datetime | None,
    last: dt.datetime | None,
    variables: Path | None,
    confidence: float,
    plot: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Show EnPI, CUSUM and savings of a period after the baseline.

    A saving is real where its interval excludes zero. The file of the baseline's variables is read again where none
    is given.

    \b
    Example:
      edgewatt performance show --from 2026-01-01 --plot --picture savings.svg
    """
    from agent.daemon.paths import StatePaths
    from agent.planning.performance.record import Record
    from agent.planning.performance.savings import compare

    record = Record.load(StatePaths(session.config.device.state_dir).performance)
    fitted = record.baseline
    if fitted.zone != session.config.plant.zone:
        raise ConfigError(
            f"the baseline's days are those of {fitted.zone}, the plant's of {session.config.plant.zone}",
            where="plant.zone",
            todo="Mend plant.zone, or fit the baseline anew",
        )
    begin = first.date() if first else fitted.last + dt.timedelta(days=1)
    end = last.date() if last else _last_day(session)
    if not last and end < begin:
        raise UnavailableError(
            f"there is no day from {begin} to {end}", where="performance", todo="Wait for data, or give other days"
        )
    _check_days(begin, end)
    file = variables or (Path(fitted.variables_file) if fitted.wanted else None)
    observations, _ = _observe(session, begin, end, fitted.by, file, fitted.wanted)
    found = compare(fitted, observations, record.adjustments, confidence=confidence / 100)
    answer = {**_head(session), **performance_answer(record, found, begin, end)}
    if picture is not None:
        from agent.cli.performance_picture import draw_picture

        _write(picture, draw_picture(answer))
    emit(answer, as_json, lambda told: performance_words(told, plot=plot))


@performance.command()
@click.option("--from", "first", type=_DAY, help="First day of the change.")
@click.option("--to", "last", type=_DAY, help="Last day; for ever where left out.")
@click.option(
    "--kwh-per-day", type=float, default=0.0, show_default=True, help="Added to the expected energy of a day."
)
@click.option("--reason", help="What changed: shifts, floor area, a new machine.")
@click.option("--remove", type=int, help="Remove the adjustment of this number instead.")
@json_option
@pass_session
def adjust(
    session: Session,
    first: dt.datetime | None,
    last: dt.datetime | None,
    kwh_per_day: float,
    reason: str | None,
    remove: int | None,
    as_json: bool,
) -> None:
    """Put a change of a static factor on record, and adjust the baseline by it (non-routine adjustment).

    \b
    Example:
      edgewatt performance adjust --from 2026-03-01 --kwh-per-day 420 --reason "second oven"
    """
    from agent.daemon.paths import StatePaths
    from agent.planning.performance.record import Adjustment, Record

    path = StatePaths(session.config.device.state_dir).performance
    record = Record.load(path)
    if remove is not None:
        changed = record.without(remove)
    elif first is None or reason is None:
        raise click.UsageError("Give --from and --reason, or --remove.")
    else:
        changed = record.adjusted(Adjustment(first.date(), last.date() if last else None, kwh_per_day, reason))
    changed.save(path)
    answer = {**_head(session), "adjustments": [entry.to_json() for entry in changed.adjustments]}
    emit(answer, as_json, lambda told: f"Adjustments on record: {len(told['adjustments'])}.")


def _check_days(first: dt.date, last: dt.date) -> None:
    if last < first:
        raise click.UsageError("--to lies before --from.")
    if first.year < _FIRST_YEAR or last.year > _LAST_YEAR or (last - first).days > _MOST_DAYS:
        raise click.UsageError(f"Give days from {_FIRST_YEAR} to {_LAST_YEAR}, at most {_MOST_DAYS // 366} years.")


def _observe(
    session: Session, first: dt.date, last: dt.date, by: str, file: Path | None, use: Sequence[str]
) -> tuple[Observations, list[str]]:
    """Read slots and variables of the days; return them with the names of the variables of the file."""
    from agent.contract.slots import SLOT_LENGTHS_S
    from agent.daemon.offline import open_offline_store
    from agent.daemon.slotweeks import slots_between
    from agent.planning.performance.days import daily_energy, span_ms
    from agent.planning.performance.observations import observe
    from agent.planning.performance.variables import read_variables

    zone = session.config.plant.zone
    variables = read_variables(file, zone, use) if file is not None else None
    start_ms, end_ms = span_ms(first, last, zone)
    with open_offline_store(session.config) as (store, _):
        slots = slots_between(store, start_ms - SLOT_LENGTHS_S[-1] * 1000, end_ms)
    names = list(variables.values) if variables is not None else list(use)
    return observe(daily_energy(slots, zone, first, last), variables, names, by), names


def _last_day(session: Session) -> dt.date:
    """The last day that is over, as far as the store knows."""
    from agent.contract.zones import parse_zone, to_local
    from agent.daemon.offline import open_offline_store

    with open_offline_store(session.config) as (store, _):
        last_ms = store.last_time_ms("slots")
    if last_ms is None:
        raise UnavailableError("there is no slot yet", where="store", todo="Wait for readings")
    end_ms = last_ms + session.config.plant.slot_s * 1000
    return to_local(end_ms, parse_zone(session.config.plant.zone)).date() - dt.timedelta(days=1)


def _head(session: Session) -> dict[str, Any]:
    return {"device": session.config.device.id, "zone": session.config.plant.zone}


def _write(path: Path, text: str) -> None:
    from agent.contract.givenfiles import check_replaceable

    check_replaceable(path, b"<svg")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise StorageError(f"cannot be written ({exc.strerror})", where=str(path), todo="Give another path") from exc
