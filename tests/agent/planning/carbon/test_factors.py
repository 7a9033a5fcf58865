"""Files of emission factors: those that ship are right, and what is wrong in one is told all at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from agent.planning.carbon.factors import Ledger
from agent.planning.carbon.reader import factor_form, parse_factors, read_factors

FOLDER = Path(__file__).parents[4] / "firmware-configs" / "carbon"
ONE = 'name = "one"\nzone = "UTC"\n[[factor]]\nledger = "scope-2-location"\nkg_per_unit = 0.4\n'


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.name)
def test_every_file_that_ships_loads_and_says_where_its_figures_come_from(path):
    factors = read_factors(path)
    assert {Ledger.LOCATION, Ledger.MARKET, Ledger.SCOPE_1} <= {factor.ledger for factor in factors.factors}
    assert all(factor.source for factor in factors.factors)
    text = path.read_text()
    assert "https://" in text
    assert "ILLUSTRATIVE" in text


def test_a_year_of_the_example_has_its_published_factor():
    factors = read_factors(FOLDER / "germany.toml")
    for start_ms, kg in ((1_672_531_200_000, 0.386), (1_704_067_200_000, 0.363), (1_900_000_000_000, 0.363)):
        assert factors.kg_per_unit("electricity", Ledger.LOCATION, start_ms, 900, 1).tolist() == [kg]


def test_everything_that_is_wrong_is_told_at_once():
    text = """
name = ""
zone = "Europe/Atlantis"
colour = 3
[[factor]]
name = "Grid"
unit = "BTU"
ledger = "scope-3"
kg_per_unit = -1
from = 2026-01-01
to = 2025-01-01
months = [13]
[[factor]]
ledger = "scope-1"
[[factor]]
carrier = "electricity"
unit = "t"
ledger = "scope-1"
series = "../secret.csv"
"""
    with pytest.raises(ConfigError) as caught:
        parse_factors(text)
    told = str(caught.value)
    for words in (
        "name: is missing",
        "zone: ",
        "colour: is unknown",
        "factor[0].name: 'Grid'",
        "factor[0].unit: is not one of kWh",
        "factor[0].ledger: is not one of scope-1",
        "factor[0].kg_per_unit: is missing, or is not a number from 0",
        "factor[0].to: 2025-01-01 lies before",
        "factor[0].months",
        "factor[1].kg_per_unit: is wanted, or else series",
        "factor[2].unit: 'electricity' has another unit",
        "factor[2].series: '../secret.csv' is not the name of a file",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 3 = 4", "is not valid TOML"),
        ('name = "x"\nzone = "UTC"\n', "write one"),
        (ONE.replace("0.4", "true"), "is not a number"),
        (ONE.replace("0.4", "nan"), "is not a number"),
        (ONE.replace("0.4", "0.123456789"), "more than 8 decimals"),
        (ONE + "series = 'a.csv'\n", "not both"),
        (ONE.replace("kg_per_unit = 0.4", "series = 'none.csv'"), "none.csv"),
        (
            ONE.replace("kg_per_unit = 0.4", "series = 'none.csv'\nseries_minutes = 7"),
            "series_minutes: is not one of 5",
        ),
        (ONE + "from = 2026-01-01T00:00:00\n", "is not a date"),
    ],
)
def test_one_problem_is_one_line(text, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        parse_factors(text, folder=tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("2026-03-01T23:00,5", "does not say its offset"),
        ("2026-03-01T23:30Z,5", "is not the start of 60 minutes"),
        ("2026-03-01T23:00Z,-5", "line 2: -5 is not a factor of 0"),
        ("2026-03-01T23:00Z,5\n2026-03-01T23:00Z,6", "line 3: .* stands further up, too"),
        ("2026-03-01T23:00Z", "line 2: is not a start and a factor"),
        ("2026-03-01T23:00Z,5,6", "line 2: is not a start and a factor"),
        ("2026-03-01T23:00Z,99999999", "line 2: 99999999 is not a factor of 0 to 100000 kg"),
    ],
)
def test_a_series_that_is_wrong_is_refused_with_its_line(rows, words):
    with pytest.raises(ConfigError, match=words):
        factor_form().parse(f"start,kg_per_unit\n{rows}\n", "hours.csv", 3600)


def test_a_series_is_exact_in_its_unit():
    grams = factor_form(Decimal("0.001"))
    _, values = grams.parse("start,kg_per_unit\n2026-03-01T23:00Z,351.25\n", "hours.csv", 3600)
    assert values.tolist() == [35_125_000]
    with pytest.raises(ConfigError, match="header"):
        grams.parse("time,kg\n", "hours.csv", 3600)


def test_a_series_that_grows_is_read_again_and_a_broken_one_leaves_the_last_in_force(tmp_path):
    path = tmp_path / "hours.csv"
    path.write_text("start,kg_per_unit\n2026-03-01T00:00Z,0.5\n")
    factors = parse_factors(ONE.replace("kg_per_unit = 0.4", 'series = "hours.csv"'), folder=tmp_path)

    def second_hour():
        return factors.kg_per_unit("electricity", Ledger.LOCATION, 1_772_326_800_000, 3600, 1).tolist()

    assert str(second_hour()) == "[nan]"
    path.write_text(path.read_text() + "2026-03-01T01:00Z,0.25\n")
    assert second_hour() == [0.25]
    path.write_text(path.read_text() + "2026-03-01T02:00Z,much\n")
    assert second_hour() == [0.25]
    path.unlink()
    assert second_hour() == [0.25]
