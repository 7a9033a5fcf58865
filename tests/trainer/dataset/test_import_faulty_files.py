"""Files with the faults that files have: refused with the row and a word of advice, or repaired where that is asked."""

import datetime as dt

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from tests.support.bundles import START_MS, plant_history
from tests.support.loadcurves import write_csv
from trainer.dataset.flags import Flag
from trainer.dataset.snapshot import flags_of, take

SLOT_MS = 1_800_000


def a_row_twice(rows):
    rows.insert(101, [rows[100][0], "7"])


def a_row_out_of_order(rows):
    rows.insert(110, rows.pop(100))


def a_clock_that_went_back(rows):
    for index in (200, 201):
        rows.insert(index + 2, [rows[index][0], "7"])


def a_row_between_the_slots(rows):
    rows[100][0] += ":13"


def a_mistyped_century(rows):
    rows[100][0] = "21" + rows[100][0][2:]


def a_mistyped_last_year(rows):
    rows[-1][0] = "21" + rows[-1][0][2:]


def a_mistyped_first_year(rows):
    rows[0][0] = "2004" + rows[0][0][4:]


def a_mistyped_next_year(rows):
    rows[100][0] = "2015" + rows[100][0][4:]


def a_word(rows):
    rows[100][1] = "offline"


def no_time(rows):
    rows[100][0] = "--"


REFUSED = [
    (a_row_twice, "line 103: .*stands twice.*--repair", Flag.DUPLICATE, 103, []),
    (a_row_out_of_order, "line 112: .*before the row above", Flag.CLOCK, 112, [100]),
    (a_clock_that_went_back, "line 204: .*before the row above.*doubled hour", Flag.DUPLICATE, 204, []),
    (a_row_between_the_slots, "line 102: .*off the grid", Flag.CLOCK, 102, [100]),
    (a_mistyped_century, "line 102: .*lies 100 years after", Flag.CLOCK, 102, [100]),
    (a_mistyped_last_year, "line 961: .*lies 100 years after", Flag.CLOCK, 961, [959]),
    (a_mistyped_first_year, "line 3: .*lies 10 years after", Flag.CLOCK, 2, [0]),
    (a_mistyped_next_year, "line 103: .*before the row above.*correct the row above", Flag.CLOCK, 102, [100]),
    (a_word, "line 102: .*'offline' is not a number", Flag.VALUE, 102, [100]),
    (no_time, "line 102: .*not of the form", Flag.CLOCK, 102, [100]),
]


@pytest.mark.parametrize(("fault", "words", "flag", "line", "lost"), REFUSED)
def test_a_fault_is_refused_with_its_line(import_, held, csv, fault, words, flag, line, lost):
    before = held()
    with pytest.raises(ConfigError, match=words) as caught:
        import_(write_csv(csv, 20, change=fault))
    assert caught.value.todo
    assert held() == before


@pytest.mark.parametrize(("fault", "words", "flag", "line", "lost"), REFUSED)
def test_a_fault_is_repaired_and_flagged_where_that_is_asked(import_, engine, csv, fault, words, flag, line, lost):
    result = import_(write_csv(csv, 20, change=fault), repair=True)
    snapshot, expected = take(engine, "works"), np.round(plant_history(20), 3)
    expected[lost] = np.nan
    known = np.flatnonzero(np.isfinite(expected))
    assert snapshot.start_ms == START_MS + known[0] * SLOT_MS
    assert np.array_equal(snapshot.power_kw, expected[known[0] : known[-1] + 1], equal_nan=True)
    assert set(flags_of(engine, "works")) == {flag}
    assert result.quality.finding(flag).slots >= 1
    assert any(note.startswith(f"line {line}: ") for note in result.notes), result.notes


def test_a_repaired_import_again_changes_nothing(import_, held, csv):
    write_csv(csv, 20, change=a_row_twice)
    import_(csv, repair=True)
    before = held()
    assert import_(csv, repair=True).added == 0
    assert held() == before


def test_a_corrected_file_takes_the_flags_away(import_, engine, csv):
    import_(write_csv(csv, 20, change=no_time), repair=True)
    assert flags_of(engine, "works")
    assert import_(write_csv(csv, 20)).added == 1
    assert flags_of(engine, "works") == {}


def reversed_(rows):
    rows.reverse()


def all_words(rows):
    for row in rows:
        row[1] = "NA"


def half_a_century_later(rows):
    for row in rows[400:]:
        row[0] = "2064" + row[0][4:]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (reversed_, "rows are at fault, too many.*Sort the file"),
        (all_words, "rows are at fault, too many"),
        (half_a_century_later, "lies years from its neighbours, as do"),
    ],
)
def test_what_is_no_slip_is_not_repaired(import_, held, csv, change, words):
    before = held()
    with pytest.raises(ConfigError, match=words):
        import_(write_csv(csv, 20, change=change), repair=True)
    assert held() == before


def a_field_too_many(rows):
    rows[100].append("1")


def an_open_quote(rows):
    rows[100][1] = '"1'


def a_huge_value(rows):
    rows[100][1] = "1e30"


@pytest.mark.parametrize(
    ("change", "header"),
    [
        (a_field_too_many, "timestamp,load"),
        (an_open_quote, "timestamp,load"),
        (a_huge_value, "timestamp,load"),
        (reversed_, "timestamp,load"),
        (lambda _rows: None, "timestamp,power"),
        (lambda rows: [row.append("1") for row in rows], "timestamp,load,load"),
    ],
)
def test_repair_is_offered_only_where_it_helps(import_, held, csv, change, header):
    before = held()
    with pytest.raises(ConfigError, match="line ") as caught:
        import_(write_csv(csv, 20, change=change, header=header))
    assert "--repair" not in str(caught.value)
    assert held() == before


def test_a_file_of_the_year_9999_is_refused_with_its_line(import_, held, csv):
    before = held()
    with pytest.raises(ConfigError, match=r"line 2: time '9999-.*lies after 2199"):
        import_(write_csv(csv, 20, change=lambda rows: [row.__setitem__(0, "9999" + row[0][4:]) for row in rows]))
    assert held() == before


def test_what_cannot_be_judged_is_not_kept(import_, held, csv, monkeypatch):
    def fails(*_given):
        raise ValueError("year 10000 is out of range")

    before = held()
    monkeypatch.setattr("trainer.dataset.importing.assess", fails)
    with pytest.raises(ValueError, match="out of range"):
        import_(write_csv(csv, 20))
    assert held() == before


def test_a_gap_of_a_year_is_a_gap(import_, csv):
    def change(rows):
        for row in rows[480:]:
            row[0] = "2015" + row[0][4:]

    assert import_(write_csv(csv, 20, change=change)).quality.finding(Flag.GAP).slots == 365 * 48


def test_one_row_is_too_few(import_, held, csv):
    before = held()
    with pytest.raises(ConfigError, match=r"one row only.*two weeks"):
        import_(write_csv(csv, 20, change=lambda rows: rows.__delitem__(slice(1, None))))
    assert held() == before


def test_no_value_at_all_is_refused(import_, held, csv):
    before = held()
    with pytest.raises(ConfigError, match="no value at all in column 'load'"):
        import_(write_csv(csv, 5, change=lambda rows: [row.__setitem__(1, "") for row in rows]))
    assert held() == before


def test_constant_load_is_held_and_told(import_, csv):
    quality = import_(write_csv(csv, power=np.full(480, 7.5))).quality
    assert quality.constant
    assert any("never changes" in line for line in quality.lines())


def test_export_is_load_below_zero_and_told(import_, engine, csv):
    result = import_(write_csv(csv, power=plant_history(20) - 150))
    assert result.quality.negative == int((np.round(plant_history(20) - 150, 3) < 0).sum())
    assert any("below zero" in line for line in result.quality.lines())
    assert take(engine, "works").power_kw.min() < 0


@pytest.mark.parametrize("slot_s", [420, 7200])
def test_a_slot_that_does_not_divide_a_day_or_is_not_in_use_is_refused(import_, held, csv, slot_s):
    before = held()
    with pytest.raises(ConfigError, match=rf"every {slot_s} s, which is not a slot length in use.*--slot-minutes"):
        import_(write_csv(csv, slot_s=slot_s, power=plant_history(4)))
    assert held() == before


def test_a_file_in_local_time_read_as_standard_time_is_refused_at_the_doubled_hour(import_, held, csv):
    """The commonest slip of all: the error names the zone as the way out."""
    from zoneinfo import ZoneInfo

    start = dt.datetime(2014, 10, 20, tzinfo=dt.UTC)
    walls = [(start + step * dt.timedelta(minutes=30)).astimezone(ZoneInfo("Europe/Berlin")) for step in range(480)]
    csv.write_text("timestamp,load\n" + "".join(f"{wall:%Y-%m-%d %H:%M},1\n" for wall in walls))
    before = held()
    with pytest.raises(ConfigError, match="give the place's zone instead of a fixed offset"):
        import_(csv, frame="+01:00")
    assert held() == before
