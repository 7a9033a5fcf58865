import pytest

from agent.contract.errors import ConfigError
from agent.planning.assess.distributions import Fixed, Uniform
from agent.planning.assess.reading import parse
from tests.support.assessments import ROOT, TEXT, case, changed

FOLDER = ROOT / "firmware-configs" / "assess"
BILL = f'\n[bill]\ntariff = "../tariffs/victoria-large-business.toml"\nyear = 2014\nworkday_kw = {[1.0] * 24}\n'


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, folder=FOLDER, where="case.toml")
    return str(caught.value)


def test_a_plain_number_is_known_and_a_table_says_how_unsure_it_is():
    read = case(price_per_unit='{ kind = "uniform", low = 90, high = 110, each_year = true }')
    assert read.plant.boiler.stack_loss_percent == Fixed(value=12.0)
    assert read.plant.fuel.price_per_unit == Uniform(low=90, high=110, each_year=True)


def test_a_measure_changes_the_plant_key_by_key():
    read = case()
    before, after = read.plant, read.measures[0].plant
    assert after.boiler.stack_loss_percent == Fixed(value=7.0)
    assert after.boiler.unburnt_loss_percent == before.boiler.unburnt_loss_percent
    assert (after.fuel, after.demand, after.electricity) == (before.fuel, before.demand, before.electricity)


def test_half_a_fuel_is_none():
    assert "measure[0].fuel.unit: is missing" in problems(TEXT + '[measure.fuel]\nname = "gas"\nprice_per_unit = 1\n')


def test_a_table_that_the_plant_does_not_have_is_given_whole():
    assert "measure[0].pv.self_use_percent: is missing" in problems(TEXT + "[measure.pv]\npeak_kw = 5\n")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("heat_of_combustion_kwh_per_unit", "-5000", "can be -5000, and must be at least 0.001"),
        ("heat_of_combustion_kwh_per_unit", "0", "must be at least 0.001"),
        ("heat_of_combustion_kwh_per_unit", '{ kind = "uniform", low = -1, high = 9 }', "can be -1"),
        ("heat_of_combustion_kwh_per_unit", "nan", "fuel.heat_of_combustion_kwh_per_unit: is not a number"),
        ("heat_of_combustion_kwh_per_unit", "inf", "fuel.heat_of_combustion_kwh_per_unit: is not a number"),
        ("price_per_unit", '"dear"', "fuel.price_per_unit: is not a number"),
        ("price_per_unit", "1" + "0" * 400, "fuel.price_per_unit: is beyond reckoning"),
        ("price_per_unit", '{ kind = "beta", low = 1 }', "fuel.price_per_unit.kind: 'beta' is unknown"),
        ("price_per_unit", '{ kind = "uniform", low = 2, high = 1 }', "fuel.price_per_unit: low 2 is not below high 1"),
        ("price_per_unit", '{ kind = "uniform", low = 2 }', "fuel.price_per_unit.high: is missing"),
        ("price_per_unit", '{ kind = "uniform", low = 2, high = nan }', "fuel.price_per_unit.high: is not a number"),
        ("price_per_unit", "1e300", "price_per_unit is beyond 1e+12"),
        ("price_per_unit", '{ kind = "lognormal", median = 1e13, factor = 2 }', "price_per_unit is beyond 1e+12"),
        ("price_per_unit", "-1", "can be -1, and must be at least 0"),
        ("stack_loss_percent", "120", "stack_loss_percent can be 120, and must be within 0..99"),
        ("stack_loss_percent", "93", "boiler: the losses can add up to 101 %"),
        ("stack_loss_percent", '{ kind = "lognormal", median = 9, factor = 1.1 }', "can be inf"),
        ("unit", '"gallon"', "fuel.unit: 'gallon' is not one of m3, t"),
        ("process_heat_kwh", "true", "demand.process_heat_kwh: is not a number"),
        ("discount_rate_percent", "-3", "must be within 0..50"),
        ("investment", "-3", "measure[0]: investment can be -3"),
        ("life_years", "0", "measure[0].life_years: 0 is outside 1..60"),
        ("life_years", "2.5", "measure[0].life_years: is not a whole number"),
        ("currency", '"euro"', "currency: 'euro' does not have the form"),
    ],
)
def test_what_cannot_be_is_named(key, value, says):
    assert says in problems(changed(**{key: value}))


def test_losses_that_only_a_measure_makes_too_great_are_named_there():
    said = problems(TEXT.replace("stack_loss_percent = 7", "stack_loss_percent = 95"))
    assert said == "case.toml: measure[0].boiler: the losses can add up to 103 %, and must stay below 100 %"


def test_an_investment_without_a_life_is_named():
    assert problems(TEXT.replace("life_years = 5\n", "")) == "case.toml: measure[0].life_years: is missing"


def test_water_that_takes_more_heat_than_the_fuel_has_is_named():
    text = TEXT.replace("price_per_unit = 100", "price_per_unit = 100\nmoisture_percent = 60")
    assert "does not evaporate the water" in problems(changed(text, heat_of_combustion_kwh_per_unit="900"))


def test_a_gas_has_no_moisture():
    text = TEXT.replace("price_per_unit = 100", "price_per_unit = 100\nmoisture_percent = 5")
    assert "fuels by the tonne" in problems(changed(text, unit='"m3"'))


def test_everything_that_is_wrong_is_said_at_once_and_once():
    text = changed(price_per_unit="nan", stack_loss_percent="true", average_kg_per_kwh="-1")
    said = problems(
        text.replace('name = "small works"', 'name = "small works"\ncolour = 3').replace("life_years", "life")
    )
    for place in (
        "colour: is unknown",
        "fuel.price_per_unit: ",
        "boiler.stack_loss_percent: ",
        "electricity: average_kg_per_kwh can be -1",
        "measure[0].life: is unknown",
        "measure[0].life_years: is missing",
    ):
        assert said.count(f"\n  {place}") == 1, place
    assert said.startswith("case.toml: 6 problems")


def test_what_a_measure_cannot_change_is_unknown_there():
    assert "measure[0].weather: is unknown" in problems(TEXT + "[measure.weather]\nheating_degree_days = 1\n")


def test_a_file_without_a_measure_is_refused():
    assert "[[measure]]" in problems(TEXT.partition("[[measure]]")[0])
    assert "[[measure]]" in problems(TEXT.partition("[[measure]]")[0] + "[measure]\nname = 'x'\n")


def test_two_measures_of_one_name_are_refused():
    assert "has one name twice" in problems(TEXT + "[[measure]]" + TEXT.partition("[[measure]]")[2])


@pytest.mark.parametrize(
    ("between", "says"),
    [
        ('["fuel.price_per_unit", "electricity.colour"]', "electricity.colour is no parameter"),
        ('["fuel.price_per_unit", "electricity.price_per_kwh"]', "is fixed"),
        ('["fuel.price_per_unit"]', "between is not two parameters"),
    ],
)
def test_a_correlation_that_cannot_be_is_named(between, says):
    assert says in problems(TEXT.replace("[weather]", f"[[correlation]]\nbetween = {between}\nrank = 0.5\n[weather]"))


def test_the_published_formulas_need_a_bill():
    published = "\n[published]\n" + "".join(
        f"{key} = 1\n" for key in ("battery_capacity_kwh", "insolation_kwh_per_m2_day", "reduction_h_per_kwh")
    )
    published += "unused_share = 0\nnon_renewable_kwh = 0\nstop_time_h = 1\n"
    assert "published: needs [bill]" in problems(TEXT + published)
    assert parse(TEXT + published + BILL, folder=FOLDER).world.published is not None


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("victoria-large-business", "nowhere", "bill.tariff: file "),
        ("year = 2014", "year = 14", "bill.year: 14 is outside"),
        ("[1.0, ", "[", "bill: workday_kw has 23 numbers, not 24"),
        ("[1.0, ", "[-1.0, ", "bill.workday_kw[0]: -1.0 is outside"),
    ],
)
def test_a_load_that_cannot_be_billed_is_named(before, after, says):
    assert says in problems(TEXT + BILL.replace(before, after))


@pytest.mark.parametrize("text", ["", "= 3", "name = " + "[" * 5000])
def test_what_is_no_assessment_is_one_line(text):
    said = problems(text)
    assert said.startswith("case.toml: is ")
    assert "\n" not in said[:60]
