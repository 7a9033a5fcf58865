"""`edgewatt cost`: today, month, bill and compare, from the store of an agent that runs or does not."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest

from agent.cli.main import run_command
from agent.contract.slots import Slot
from tests.support.agent_process import Agent
from tests.support.billing import at, empty, steady, with_peak
from tests.support.costplants import NIGHT_AND_DAY, CostPlant

HOUR = 3600


@pytest.fixture
def plant(tmp_path: Path) -> CostPlant:
    return CostPlant(tmp_path, NIGHT_AND_DAY)


def october(last_day: int = 31) -> list[Slot]:
    """100 kW in a month of 745 hours, with one hour of 150 kW."""
    end_ms = at(2026, 11, 1) if last_day == 31 else at(2026, 10, last_day + 1)
    return with_peak(steady(at(2026, 9, 1), end_ms, 100, HOUR), at(2026, 10, 7, 11), 150)


def test_the_invoice_of_a_month_with_25_hours_in_a_day(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    plant.store(october())
    assert run_command(plant.command("cost", "bill", "--month", "2026-10")) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "Invoice 2026-10: 2026-10-01 to 2026-10-31 by night and day\n"
        "\n"
        "line     quantity  unit  price    amount\n"
        "day     43450.000  kWh    0.30  13035.00\n"
        "night   31100.000  kWh    0.20   6220.00\n"
        "fixed     31.0000  d      2.00     62.00\n"
        "demand        150  kW       10   1500.00\n"
        "vat      20817.00  EUR    19 %   3955.23\n"
        "\n"
        "Total 24772.23 EUR\n"
    )


def test_the_month_so_far_and_at_its_end(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    plant.store(october(last_day=14))
    assert run_command(plant.command("cost", "month")) == 0
    out = capsys.readouterr().out
    assert out.startswith("2026-10-01 to 2026-10-14 by night and day\n\nline ")
    assert "so far            12165.37 EUR\n" in out
    # 31 x 100 kW but for one hour at 150, which the two Wednesdays ahead may have again.
    assert "month at its end  24772.23 EUR (24772.23 to 24807.93)" in out
    assert run_command(plant.command("cost", "month", "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == 1
    assert answer["until_ms"] == at(2026, 10, 15)
    assert sum(Decimal(line["amount"]) for line in answer["month"]["lines"]) == Decimal(answer["month"]["amount"])
    assert answer["month_end"]["profiled_slots"] == 17 * 24 + 1


def test_at_midnight_the_day_is_new_and_the_month_that_ended_is_shown(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant.store(october())
    assert run_command(plant.command("cost", "month")) == 0
    assert capsys.readouterr().out.startswith("Invoice 2026-10: 2026-10-01 to 2026-10-31 by ")
    assert run_command(plant.command("cost", "today")) == 0
    assert capsys.readouterr().out == "Nothing is known of today (2026-11-01 00:00 CET) yet.\n"


def test_an_earlier_month_is_shown_whole(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    plant.store(october(last_day=14))
    assert run_command(plant.command("cost", "month", "--month", "2026-09")) == 0
    assert capsys.readouterr().out.startswith("Invoice 2026-09: 2026-09-01 to 2026-09-30 by night and day\n")


def test_today_is_what_it_adds_to_the_month(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    load = [slot for slot in october(last_day=7) if slot.end_ms <= at(2026, 10, 7, 12)]
    plant.store(load)
    assert run_command(plant.command("cost", "today", "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    lines = {line["period"]: line for line in answer["today"]["lines"]}
    assert lines["demand"]["amount"] == "500.00"  # 50 kW more than the days before
    assert lines["night"]["energy_wh"] == 600_000
    assert run_command(plant.command("cost", "today")) == 0
    assert "measured to 2026-10-07 12:00 CEST" in capsys.readouterr().out


def test_a_change_of_prices_in_the_month_makes_two_invoices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant = CostPlant(tmp_path, NIGHT_AND_DAY, "valid_from = 2026-10-15\n" + NIGHT_AND_DAY.replace("0.30", "0.40"))
    plant.store(october())
    assert run_command(plant.command("cost", "bill", "--month", "2026-10")) == 0
    out = capsys.readouterr().out
    assert "Invoice 2026-10: 2026-10-01 to 2026-10-14 by " in out
    assert "Invoice 2026-10: 2026-10-15 to 2026-10-31 by " in out
    assert "10 x 14/31" in out
    assert out.rstrip().rpartition("\n")[2].startswith("All invoices ")


def test_slots_that_are_missing_give_a_range_and_are_counted(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant.store([empty(slot) if slot.start_ms == at(2026, 10, 9, 9) else slot for slot in october()])
    assert run_command(plant.command("cost", "bill", "--month", "2026-10")) == 0
    out = capsys.readouterr().out
    assert "Total 24736.53 EUR (24736.53 to 24790.08)" in out
    assert "- 1 of 745 slots are missing: the range holds what they may have cost" in out


def test_what_the_device_has_not_seen_is_cut_off_and_said(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    plant.store(steady(at(2026, 10, 10, 6), at(2026, 10, 20), 100, HOUR))
    assert run_command(plant.command("cost", "bill", "--month", "2026-10")) == 0
    out = capsys.readouterr().out
    assert out.startswith("Invoice 2026-10: 2026-10-10 06:00 to 2026-10-19 by ")
    assert "- nothing is known before 2026-10-10 06:00 CEST: billed from then on" in out
    assert "- measured to 2026-10-20 00:00 CEST: billed so far" in out
    assert run_command(plant.command("cost", "bill", "--from", "2026-08-01", "--to", "2026-08-31")) == 75
    assert "no slot is known from 2026-08-01" in capsys.readouterr().err


def test_the_lines_of_a_bill_as_a_file(plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plant.store(october())
    target = tmp_path / "october.csv"
    assert run_command(plant.command("cost", "bill", "--month", "2026-10", "--csv", str(target))) == 0
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["day", "night", "fixed", "demand", "vat"]
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal("24772.23")
    assert rows[0] == {
        "invoice": "2026-10",
        "name": "day",
        "quantity": "43450.000",
        "unit": "kWh",
        "price": "0.30",
        "share": "",
        "amount": "13035.00",
    }
    other = tmp_path / "letter.txt"
    other.write_text("dear sirs")
    assert run_command(plant.command("cost", "bill", "--month", "2026-10", "--csv", str(other))) == 78
    assert other.read_text() == "dear sirs"
    assert run_command(plant.command("cost", "bill", "--month", "2026-10", "--csv", str(target))) == 0


def test_the_same_load_under_another_tariff(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant.store(october())
    flat = 'name = "flat"\nzone = "Europe/Berlin"\ncurrency = "EUR"\n[[period]]\nname = "any"\nprice_per_kwh = 0.30\n'
    gas = '[[meter]]\nname = "gas"\ncarrier = "gas"\nunit = "m3"\n[[energy]]\nname = "gas"\nmeter = "gas"\nprice = 1\n'
    (tmp_path / "flat.toml").write_text(flat + gas)
    command = plant.command("cost", "compare", str(tmp_path / "flat.toml"))
    assert run_command([*command, "--from", "2026-10-01", "--to", "2026-10-31"]) == 0
    out = capsys.readouterr().out
    assert ["2026-10", "24772.23", "22365.00"] in [line.split() for line in out.splitlines()]
    assert (
        "flat would have cost 2407.23 EUR (9.7 %) less: taxes and fees -3955.23, energy +3110.00, demand -1500.00, "
        "fixed -62.00." in out
    )
    assert ["flat", "\u2588" * 36, "22365.00"] in [line.split() for line in out.splitlines()]
    assert "- flat: gas: left out, there are no slots of meter gas" in out
    assert run_command([*command, "--json"]) == 0
    now, other = json.loads(capsys.readouterr().out)["tariffs"]
    assert set(now["months"]) == {"2026-09", "2026-10"}
    for one in (now, other):
        assert sum(map(Decimal, one["kinds"].values())) == sum(map(Decimal, one["months"].values()))
        assert sum(map(Decimal, one["months"].values())) == Decimal(one["amount"])


def test_an_invoice_from_one_reading_of_the_meter_to_the_next_has_the_months_demand_once(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant.store(october())
    days = ("--from", "2026-09-09", "--to", "2026-10-08")
    assert run_command(plant.command("cost", "bill", *days, "--csv", str(tmp_path / "bill.csv"), "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    (invoice,) = answer["invoices"]
    demand = next(line for line in invoice["lines"] if line["period"] == "demand")
    assert (demand["quantity"], demand["amount"]) == ("150", "1500.00")  # 7 October
    assert answer["notes"] == ["2026-09-09 to 2026-10-08 is taken as one billing month: demand and the like count once"]
    assert run_command(plant.command("cost", "reconcile", str(tmp_path / "bill.csv"), *days)) == 0
    assert "Both agree to the last digit." in capsys.readouterr().out
    assert run_command(plant.command("cost", "bill", "--from", "2026-09-09", "--to", "2026-10-28", "--json")) == 0
    assert len(json.loads(capsys.readouterr().out)["invoices"]) == 2


@pytest.mark.parametrize(
    ("first", "end", "months"),
    [
        ((2026, 8, 20), (2026, 11, 11), {"2026-09", "2026-10"}),  # the months before and after were seen in part
        (
            (2025, 6, 1),
            (2026, 7, 10),
            {f"2025-{one:02}" for one in range(7, 13)} | {f"2026-{one:02}" for one in range(1, 7)},
        ),
        ((2026, 10, 20), (2026, 10, 25), {"2026-10"}),
    ],
)
def test_tariffs_are_compared_over_whole_billing_months_where_there_are_some(
    plant: CostPlant,
    capsys: pytest.CaptureFixture[str],
    first: tuple[int, ...],
    end: tuple[int, ...],
    months: set[str],
) -> None:
    plant.store(steady(at(*first), at(*end), 100, HOUR))
    assert run_command(plant.command("cost", "compare", str(plant.folder / "tariff"), "--json")) == 0
    assert set(json.loads(capsys.readouterr().out)["tariffs"][0]["months"]) == months


def test_an_offer_that_begins_tomorrow_is_compared_by_its_prices(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant.store(october())
    begin = 'name = "flat"\nzone = "Europe/Berlin"\ncurrency = "EUR"\nvalid_from = '
    for first in ("2026-10-15", "2027-01-01"):
        (tmp_path / "offer.toml").write_text(f'{begin}{first}\n[[energy]]\nname = "any"\nprice = 0.30\n')
        command = plant.command("cost", "compare", str(tmp_path / "offer.toml"), "--json")
        assert run_command([*command, "--from", "2026-10-01", "--to", "2026-10-31"]) == 0
        offer = json.loads(capsys.readouterr().out)["tariffs"][1]
        assert (offer["amount"], offer["low"], offer["high"]) == ("22365.00",) * 3
        assert offer["notes"] == [f"its prices of {first} are taken for the days before, too"]


def test_a_tariff_of_another_currency_is_not_compared(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant.store(october())
    (tmp_path / "usd.toml").write_text((tmp_path / "tariff" / "0.toml").read_text().replace("EUR", "USD"))
    assert run_command(plant.command("cost", "compare", str(tmp_path / "usd.toml"))) == 78
    assert "usd.toml: is in USD" in capsys.readouterr().err


def test_a_real_invoice_is_explained_line_by_line(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant.store(steady(at(2026, 9, 1), at(2026, 11, 3), 100, HOUR))
    (tmp_path / "invoice.csv").write_text(
        "Name;Quantity;Unit;Price;Amount\n"
        "Arbeit HT;42,0;MWh;30;12.600,00\n"  # without the last day, in ct/kWh
        "night;30.100;kWh;0,20;6.020,00\n"
        "fixed;31;d;2,00;62,00\n"
        "demand;110;kW;10,00;1.100,00\n"
        "vat;19.782,00;EUR;19 %;3.758,58\n"
        "letter;;;;5,00\n"
        "Total;;;;23.545,58\n"
    )
    command = plant.command("cost", "reconcile", str(tmp_path / "invoice.csv"), "--map", "Arbeit HT=day")
    assert run_command(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        f"{tmp_path}/invoice.csv against 2026-10-01 to 2026-10-31 by night and day, in EUR\n"
        "\n"
        "line               theirs      ours  difference  of quantity  of price  rest\n"
        "day (Arbeit HT)  12600.00  13020.00     -420.00      -420.00\n"
        "night             6020.00   6220.00     -200.00      -200.00\n"
        "fixed               62.00     62.00        0.00\n"
        "demand            1100.00   1000.00      100.00       100.00\n"
        "vat               3758.58   3857.38      -98.80       -98.80\n"
        "letter               5.00         -        5.00\n"
        "sum              23545.58  24159.38     -613.80\n"
        "\n"
        "They bill 613.80 EUR less than we do; it is made of:\n"
        "  quantities of energy                         -620.00\n"
        "  quantities of demand                         100.00\n"
        "  taxes and percentages of what differs above  -98.80\n"
        "  lines that only they have                    5.00\n"
        "\n"
        "- their energies are 2400 kWh less than ours together: explained by their invoice ending before 2026-10-31, "
        "to the Wh\n"
        "- demand: their demand is 110 kW, ours 100 kW\n"
    )
    assert run_command([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(map(Decimal, answer["causes"].values())) == Decimal(answer["difference"])
    assert answer["lines"][0]["theirs"]["price"] == "0.3"


def test_an_invoice_of_a_month_that_was_not_seen_is_not_compared(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant.store(october(last_day=2))  # from September on
    invoice = tmp_path / "invoice.csv"
    invoice.write_text("name,amount\nday,1.50\n")
    assert run_command(plant.command("cost", "reconcile", str(invoice), "--month", "2026-08")) == 75
    assert "no slot is known from 2026-08-01" in capsys.readouterr().err


def test_our_own_file_of_lines_is_an_invoice_without_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = CostPlant(tmp_path, NIGHT_AND_DAY, "valid_from = 2026-10-15\n" + NIGHT_AND_DAY.replace("0.30", "0.40"))
    plant.store(october())
    target = str(tmp_path / "october.csv")
    assert run_command(plant.command("cost", "bill", "--month", "2026-10", "--csv", target)) == 0
    capsys.readouterr()
    assert run_command(plant.command("cost", "reconcile", target, "--month", "2026-10")) == 0
    assert "Both agree to the last digit." in capsys.readouterr().out


def test_emissions_stand_beside_costs_where_factors_are_given(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant.store(october(last_day=14))
    factor = 'ledger = "scope-2-location"\nkg_per_unit = 0.4\nfrom = 2024-01-01\nsource = "test"\n'
    (plant.folder / "carbon.toml").write_text(f'name = "grid"\nzone = "UTC"\n[[factor]]\nname = "grid"\n{factor}')
    plant.config.write_text(plant.config.read_text() + '[carbon]\nfile = "carbon.toml"\n')
    flat = str(plant.folder / "tariff" / "0.toml")
    for words, expected in (
        (["month"], "emissions         13460.000 kg CO2e\n"),  # 14 days of 100 kW and 50 kWh, 0.4 kg each
        (["month"], "its emissions     29820.000 kg CO2e (29820.000 to "),
        (["bill", "--from", "2026-10-02", "--to", "2026-10-03"], "emissions  1920.000 kg CO2e\n"),
        (["compare", flat, "--from", "2026-10-02", "--to", "2026-10-03"], "emissions of any  1920.000 kg CO2e\n"),
    ):
        assert run_command(plant.command("cost", *words)) == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["bill"],
        ["bill", "--month", "2026-13"],
        ["bill", "--month", "2026-10", "--from", "2026-10-01", "--to", "2026-10-02"],
        ["bill", "--from", "2026-10-01"],
        ["bill", "--month", "0001-01"],
        ["bill", "--from", "2026-10-01", "--to", "9999-12-31"],
        ["bill", "--from", "2026-10-02", "--to", "2026-10-01"],
        ["compare"],
        ["compare", "tariff/0.toml", "--to", "2026-10-01"],
        ["--json", "today"],
        ["reconcile", "agent.toml", "--from", "2026-10-01"],
        ["reconcile", "agent.toml", "--map", "day"],
    ],
)
def test_wrong_usage_is_2(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(plant.folder)
    plant.store(october(last_day=2))
    assert run_command(plant.command("cost", *arguments)) == 2
    assert capsys.readouterr().out == ""


def test_without_a_tariff_or_slots_it_says_what_is_needed(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(plant.command("cost", "month")) == 74
    assert "edgewatt run" in capsys.readouterr().err
    plant.store([])
    assert run_command(plant.command("cost", "month")) == 75
    assert "no closed slot yet" in capsys.readouterr().err
    plant.store(october(last_day=2))
    plant.config.write_text(plant.config.read_text().partition("[tariff]")[0])
    assert run_command(plant.command("cost", "month")) == 78
    assert "[tariff] file" in capsys.readouterr().err


def test_where_only_the_service_has_the_key_the_agent_is_to_be_asked(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant.store(october(last_day=2))
    for name in ("storage.key", "storage.key.copy"):
        (plant.folder / "state" / "identity" / name).unlink()
    assert run_command(plant.command("cost", "month")) == 74
    error = capsys.readouterr().err
    assert "edgewatt-storage" in error
    assert "`edgewatt cost` asks the agent" in error


def test_costs_are_billed_beside_the_running_agent(tmp_path: Path) -> None:
    with Agent(tmp_path).start() as agent:
        agent.until(lambda: agent.run("cost", "month").code == 0)
        answer = json.loads(agent.run("cost", "month", "--json").out)
        assert answer["month"]["known_slots"] > 0
        assert agent.run("cost", "today").code == 0
