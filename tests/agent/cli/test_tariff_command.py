"""`edgewatt tariff check`: complaints with their places, or what a tariff charges and when."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.cli.main import run_command

VICTORIA = Path(__file__).parents[3] / "firmware-configs" / "tariffs" / "victoria-large-business.toml"


def test_says_what_is_charged_and_when(capsys):
    assert run_command(["tariff", "check", str(VICTORIA)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{VICTORIA} is right."
    weekday = next(line for line in lines if line.startswith("months 1, 2, 3, 12") and "mon-fri" in line)
    assert weekday.endswith("00:00 off-peak, 07:00 peak, 15:00 summer-peak, 21:00 peak, 23:00 off-peak")
    assert any(line.split() == ["summer-peak", "main", "per", "kWh", "0.2480"] for line in lines)
    assert any(line.split() == ["fixed", "time", "per", "day", "12.50"] for line in lines)
    assert any("11 dates (the last 2014-12-26), 0 yearly rules" in line for line in lines)


def test_speaks_json_of_all_versions_of_a_folder(capsys, tmp_path):
    text = VICTORIA.read_text()
    (tmp_path / "2014.toml").write_text(text)
    (tmp_path / "2015.toml").write_text("valid_from = 2015-01-01\n" + text.replace("0.2480", "0.2600"))
    assert run_command(["tariff", "check", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ok"], answer["currency"]) == (1, True, "AUD")
    assert [version["valid_from"] for version in answer["versions"]] == [None, "2015-01-01"]
    assert [version["charges"][0]["price"] for version in answer["versions"]] == ["0.2480", "0.2600"]
    assert answer["versions"][0]["week"][0] == {
        "months": [1, 2, 3, 12],
        "seasons": [],
        "weekdays": ["mon", "tue", "wed", "thu", "fri"],
        "periods": [
            {"from": "00:00", "period": "off-peak"},
            {"from": "07:00", "period": "peak"},
            {"from": "15:00", "period": "summer-peak"},
            {"from": "21:00", "period": "peak"},
            {"from": "23:00", "period": "off-peak"},
        ],
    }


def test_shows_every_kind_of_charge(capsys, tmp_path):
    path = tmp_path / "tariff.toml"
    path.write_text("""
name = "all"
zone = "Europe/Berlin"
currency = "EUR"
[[period]]
name = "flat"
price_per_kwh = 0.1
[[meter]]
name = "reactive"
carrier = "reactive"
unit = "kvarh"
[[energy]]
name = "block"
tiers = [{up_to = 100, price = 2}, {price = 1}]
[[energy]]
name = "excess"
meter = "reactive"
price = 0.011
free_share = {of = "main", share = 0.4}
[[fixed]]
name = "transformer"
price = 3
quantity = 630
unit = "kVA"
[[demand]]
name = "demand"
price_per_kw = 10
contracted_kw = 500
minimum_share = 0.9
excess_price_per_kw = 20
weekdays = ["mon"]
from = "08:00"
to = "09:00"
ratchet = {share = 0.8, months = 11}
[power_factor]
reactive = "reactive"
of = ["demand"]
table = [[0.9, 0], [0, 5]]
[[fee]]
name = "vat"
percent = 19
of = "all"
""")
    assert run_command(["tariff", "check", str(path)]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "block.tier-1 main, up to 100 of the month per kWh 2",
        "block.tier-2 main, the rest of the month per kWh 1",
        "excess reactive above 0.4 of main per kvarh 0.011",
        "transformer 630 kVA per month 3",
        "power-factor demand percent 0 % from 0.9, 5 % from 0",
        "vat all above percent 19 %",
    ):
        assert line in shown
    demand = next(line for line in shown if line.startswith("demand "))
    for words in ("at least 450.0 kW", "beyond 500 kW at 20", "at least 0.8 of the last 11", "(mon; 08:00-09:00)"):
        assert words in demand


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_file_whose_name_is_no_text_is_read_and_told(capsys, tmp_path, form):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xb5.toml")
    Path(path).write_text('name = "n"\nzone = "UTC"\ncurrency = "EUR"\n[[energy]]\nname = "grid"\nprice = 1\n')
    assert run_command(["tariff", "check", path, *form]) == 0
    assert "?.toml" in capsys.readouterr().out


def test_names_all_that_is_wrong_with_its_place(capsys, tmp_path):
    path = tmp_path / "tariff.toml"
    path.write_text(VICTORIA.read_text().replace('to = "21:00"', 'to = "22:00"').replace("AUD", "dollars"))
    assert run_command(["tariff", "check", str(path)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}: 2 problems" in err
    assert "currency: 'dollars'" in err
    assert "period: 'summer-peak' and 'peak' overlap mon, tue, wed, thu, fri 21:00-22:00 in months 1, 2, 3, 12" in err
