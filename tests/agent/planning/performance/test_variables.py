"""A file of variables: strict in form, one value a local day."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.planning.performance.variables import TEMPERATURE, read_variables

ZONE = "Europe/Berlin"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "plant.csv"
        path.write_text(text)
        return path

    return write


def test_rows_of_days_may_be_written_as_days(write):
    found = read_variables(
        write("timestamp,temperature,pieces\n2026-03-28,4,10\n2026-03-29,5,\n2026-03-31,6,12\n"), ZONE
    )
    assert found.first == dt.date(2026, 3, 28)
    assert found.values[TEMPERATURE].tolist() == [4, 5, pytest.approx(np.nan, nan_ok=True), 6]
    assert np.isnan(found.values["pieces"]).tolist() == [False, True, True, False]


def hourly(first, hours, **columns):
    start = dt.datetime.fromisoformat(first)
    stamps = [f"{start + dt.timedelta(hours=hour):%Y-%m-%dT%H:%M}+00:00" for hour in range(hours)]
    lines = [",".join(["timestamp", *columns])]
    for number, stamp in enumerate(stamps):
        lines.append(",".join([stamp, *(str(values[number]) for values in columns.values())]))
    return "\n".join(lines) + "\n"


def test_hours_are_averaged_for_temperature_and_summed_for_all_else(write):
    # Days of UTC: 2 March has a hole in its production, 3 March has lost seven hours of temperature.
    pieces = [1] * 72
    pieces[30] = ""
    temperature = [0] * 24 + [10] * 24 + [""] * 7 + [20] * 17
    found = read_variables(write(hourly("2026-03-01", 72, temperature=temperature, pieces=pieces)), "UTC")
    assert found.values["pieces"].tolist() == [24, pytest.approx(np.nan, nan_ok=True), 24]
    assert found.values[TEMPERATURE].tolist() == [0, 10, pytest.approx(np.nan, nan_ok=True)]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_clocks_change_is_summed_over_all_its_hours(write, day, hours):
    rows = "".join(f"{stamp},1\n" for stamp in local_hours(dt.date.fromisoformat(day), hours))
    found = read_variables(write("timestamp,pieces\n" + rows), ZONE)
    assert found.values["pieces"].tolist() == [hours]


def local_hours(day, hours):
    start = dt.datetime.combine(day, dt.time(), ZoneInfo(ZONE)).astimezone(dt.UTC)
    for hour in range(hours):
        moment = (start + dt.timedelta(hours=hour)).astimezone(ZoneInfo(ZONE))
        yield f"{moment:%Y-%m-%dT%H:%M}"


def test_days_outside_the_file_are_unknown(write):
    found = read_variables(write("timestamp;pieces\n2026-03-02;5\n2026-03-03;6\n"), ZONE)
    wide = found.between("pieces", dt.date(2026, 3, 1), dt.date(2026, 3, 4))
    assert np.nan_to_num(wide, nan=-1).tolist() == [-1, 5, 6, -1]
    assert np.isnan(found.between("pieces", dt.date(2027, 3, 1), dt.date(2027, 3, 2))).all()
    assert found.between("pieces", dt.date(2026, 3, 3), dt.date(2026, 3, 3)).tolist() == [6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timestamp,pieces\n2026-03-02,5\n2026-03-02,6\n", r"line 3.*stands twice"),
        ("timestamp,pieces\n2026-03-03,5\n2026-03-02,6\n", r"line 3.*lies before the row above"),
        ("timestamp,pieces\n2026-02-30,5\n", r"line 2.*does not exist"),
        ("timestamp,pieces\n2026-03-02,5,6\n", r"line 2.*has 3 fields"),
        ("timestamp,pieces\n2026-03-02,many\n", r"line 2.*'many' is not a number"),
        ("timestamp,working_day\n2026-03-02,1\n2026-03-03,0.5\n", r"line 3.*working_day is not 0 or 1"),
        ("time,pieces\n2026-03-02,5\n", r"column 'timestamp' is missing"),
        ("timestamp\n2026-03-02\n", r"has 0 variables"),
        ("timestamp,a,b,c,d,e,f,g\n2026-03-02,1,1,1,1,1,1,1\n", r"has 7 variables.*--use"),
        ("timestamp,pie\u0007ces\n2026-03-02,1\n", r"is no name of a variable"),
        ("timestamp,heating degree days\n2026-03-02,1\n", r"is no name of a variable, or is taken"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(write, text, words):
    with pytest.raises(ConfigError, match=words):
        read_variables(write(text), ZONE)


def test_only_the_wanted_columns_are_read(write):
    path = write("timestamp,temperature,note\n2026-03-02,5,x\n")
    assert list(read_variables(path, ZONE, ["temperature"]).values) == ["temperature"]
    with pytest.raises(ConfigError, match="column 'pieces' is missing"):
        read_variables(path, ZONE, ["pieces"])
