"""The page as a reader's browser gets it: parsed with html.parser, its figures checked by plotly's own validators."""

import base64
import hashlib
import html.parser
import json
import re

import plotly.graph_objects
import pytest
from sqlalchemy import func, select

from agent.contract.bundle import Bundle
from agent.contract.errors import ConfigError
from agent.contract.rows import alert_row, cost_row, event_row, gap_row
from tests.support import bundles, fleetdata
from trainer.fleet import database as db
from trainer.service.report import Options, build_report

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>&{{ 7*7 }}<!--"


class Page(html.parser.HTMLParser):
    """What the page consists of."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.data_scripts, self.text, self.rows = [], [], {}, [], []
        self._script = self._cell = None
        self.feed(text)
        self.close()
        self.body = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "script":
            self._script = attrs
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self._cell = []

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None
        elif tag in {"td", "th"}:
            self.rows[-1].append(" ".join(" ".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data):
        if self._script is None:
            self.text.append(data)
            if self._cell is not None:
                self._cell.append(data)
        elif self._script.get("type") == "application/json":
            self.data_scripts[self._script["id"]] = json.loads(data)
        else:
            self.scripts.append(data)

    def attributes(self):
        return [(tag, name, value) for tag, attrs in self.tags for name, value in attrs.items()]


def page_of(engine, **options):
    report = build_report(engine, Options(**options), now_ms=fleetdata.NOW_MS)
    return report, Page(report.html)


def count_rows(engine):
    with db.read(engine) as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar() for table in db.metadata.sorted_tables
        ]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    engine = fleetdata.three_plants(tmp_path_factory.mktemp("centre"))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def made(fleet):
    before = count_rows(fleet)
    result = page_of(fleet, bundles=[Bundle.from_bytes(bundles.tiny_bytes())])
    assert count_rows(fleet) == before
    return result


@pytest.fixture
def empty(tmp_path):
    engine = fleetdata.empty(tmp_path)
    yield engine
    engine.dispose()


def test_headline_table_says_what_is_held_missing_and_open(made):
    _, page = made
    cells = {row[0]: row for row in page.rows if row and row[0].startswith("plant-") and len(row) == 9}
    assert cells["plant-north"][1:4] == ["990", "0", "0"]
    assert cells["plant-south"][1:4] == ["960", "30", "0"]
    assert cells["plant-west"][1:] == ["0", "0", "0", "never", "no data", "no forecast yet", "—", "0"]
    assert cells["plant-north"][4:7] == ["2026-11-22 01:00:00", "2014-11-30 15:00+11:00", "elecdemand@1"]
    assert cells["plant-north"][8] == "1"


def test_headlines_are_the_same_as_values(made):
    report, _ = made
    value = report.to_json()
    north = value["devices"][0]
    assert value["schema"] == 1
    assert value["rejected_messages"] == 2
    assert (north["device"], north["zone"], north["currency"]) == ("plant-north", "Australia/Melbourne", "AUD")
    assert north["pinball_kw"] < north["pinball_naive_kw"]
    assert north["unreadable_rows"] == 0
    json.dumps(value, allow_nan=False)


def test_verdict_names_the_silent_device_and_what_is_missing(made):
    _, page = made
    assert "No readings yet from plant-west. 30 readings missing, 0 duplicated. 2 alerts open." in page.body


def test_every_placeholder_has_its_figure_and_plotly_accepts_each(made):
    _, page = made
    wanted = [attrs["data-figure"] for tag, attrs in page.tags if "data-figure" in attrs]
    assert wanted == list(page.data_scripts)
    assert len(wanted) == 6  # load, cost and arrivals of two devices; the third has sent nothing
    for figure in page.data_scripts.values():
        plotly.graph_objects.Figure(figure)


def test_load_figure_has_fan_median_and_load_on_local_time(made):
    _, page = made
    figure = page.data_scripts["figure-1"]
    names = [trace.get("name") for trace in figure["data"] if trace.get("showlegend", True)]
    assert names == [
        "fallback forecast, 10% to 90%",
        "fallback forecast, median",
        "forecast, 10% to 90%",
        "forecast, median",
        "measured load",
    ]
    load = figure["data"][-1]
    assert load["x"][0] == "2014-11-16T00:00:00"
    assert None in load["y"]  # the silent afternoon is a hole, not a line
    assert "kW" in figure["layout"]["yaxis"]["title"]["text"]
    assert "Australia/Melbourne" in figure["layout"]["xaxis"]["title"]["text"]


def test_first_forecast_of_a_day_begins_at_local_midnight(made):
    _, page = made
    medians = [trace for trace in page.data_scripts["figure-1"]["data"] if "median" in trace.get("name", "")]
    assert len(medians) == 15
    assert {trace["x"][0][11:] for trace in medians} == {"00:00:00"}
    assert all(len(trace["x"]) == 48 for trace in medians)


def test_cost_figure_is_stacked_by_period_and_the_running_day_is_pale(made):
    _, page = made
    traces = page.data_scripts["figure-2"]["data"]
    assert [trace["name"] for trace in traces] == ["peak", "off-peak", "fixed"]
    assert traces[0]["marker"]["opacity"] == [1.0] * 14 + [0.45]
    assert traces[0]["x"][0] == "2014-11-16"


def test_outage_is_a_shaded_gap_in_arrivals(made):
    _, page = made
    layout = page.data_scripts["figure-3"]["layout"]
    assert len(layout["shapes"]) == 1
    assert layout["annotations"][0]["text"].startswith("nothing for 4")
    assert sum(page.data_scripts["figure-3"]["data"][0]["y"]) == 1048
    assert "of which 8 were sent again" in page.body


def test_alerts_show_their_last_state(made):
    _, page = made
    states = [(row[1], row[2]) for row in page.rows if len(row) == 3 and row[1] in {"open", "cleared"}][:3]
    assert [state for state, _ in states] == ["open", "cleared", "cleared"]
    assert "402 kW" in states[0][1]


def test_update_history_gives_the_reason_of_a_refusal(made):
    _, page = made
    refused = next(row for row in page.rows if "refused" in row)
    assert refused[2] == "elecdemand@2 outputs differ from the golden ones by 3.1, allowed 0.05"


def test_model_card_states_scores_size_data_and_footprint(made):
    _, page = made
    bundle = Bundle.from_bytes(bundles.tiny_bytes())
    assert f"{bundle.manifest.name}@{bundle.manifest.version}" in page.body
    assert bundle.manifest.training.data_sha256 in page.body
    assert f"{len(bundle.model):,} bytes" in page.body
    assert f"{bundle.manifest.pinball_kw['student_int8']:,.4g} kW" in page.body
    assert "unknown: no emission factor of the grid was given" in page.body


def test_refused_messages_are_listed_with_their_reason(made):
    _, page = made
    assert any(
        row[1:4] == ["plant-north", "ew/v1/plant-north/up/batch", "signature does not verify"] for row in page.rows
    )


def test_page_loads_nothing_and_runs_only_its_own_two_scripts(made):
    _, page = made
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts]
    assert len(hashes) == 2
    assert re.search("script-src ([^;]*);", policy)[1] == " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert policy.startswith("default-src 'none';")
    assert not [value for _, name, value in page.attributes() if name == "src"]
    assert {value[0] for _, name, value in page.attributes() if name == "href"} == {"#"}
    assert not [tag for tag, _ in page.tags if tag in {"link", "img", "iframe", "object", "form", "base"}]


def test_empty_centre_says_what_to_do(empty):
    _, page = page_of(empty)
    assert "No device is registered at this centre" in page.body
    assert "Add --bundle model.ewb" in page.body
    assert "every message that reached the centre was genuine" in page.body


def test_silent_device_says_what_is_missing_everywhere(empty):
    fleetdata.DeviceWriter(empty, "quiet", last_seen_ms=None)
    _, page = page_of(empty)
    for words in (
        "No load yet",
        "No cost yet",
        "No envelope has arrived",
        "No alert was ever raised",
        "No model has been offered",
        "no forecast has been lived through yet",
    ):
        assert words in page.body
    assert not page.data_scripts


def test_hostile_texts_of_a_device_stay_text(empty):
    writer = fleetdata.DeviceWriter(empty, EVIL)
    slots = [fleetdata.slot(fleetdata.START_MS + step * fleetdata.SLOT_MS, 1.0) for step in range(96)]
    writer.rows("slots", [slot.to_row() for slot in slots])
    writer.rows("forecasts", [_hostile_forecast()])
    lines = [{"period": EVIL, "amount": "1.00"}, {"period": "%{y}" + EVIL, "amount": "1.00"}]
    writer.rows("costs", [cost_row(fleetdata.START_MS, "today", EVIL[:8], "2.00", "1.00", "3.00", lines=lines)])
    writer.rows("alerts", [alert_row(fleetdata.START_MS, EVIL, "raised", EVIL, EVIL, id=EVIL)])
    writer.rows(
        "events",
        [
            event_row(fleetdata.START_MS, "boot", EVIL, zone=EVIL),
            event_row(fleetdata.START_MS, "model", EVIL, action=EVIL, model=EVIL, version=1, reason=EVIL),
            gap_row(fleetdata.START_MS, EVIL, 1, 1, 2, EVIL),
        ],
    )
    writer.envelopes([(fleetdata.NOW_MS - 1000, 10, 1, 1)])
    fleetdata.reject(empty, EVIL, EVIL, EVIL)
    _, page = page_of(empty, title=EVIL)
    assert len(page.scripts) == 2
    assert "alert(1)" not in "".join(page.scripts)
    assert not {"img", "b"} & {tag for tag, _ in page.tags}
    assert not [name for _, name, _ in page.attributes() if name.startswith("on")]
    assert page.body.count(" ".join(EVIL.split())) >= 8  # shown as it was written, nowhere as markup
    assert len(page.data_scripts) == 3
    for figure in page.data_scripts.values():
        plotly.graph_objects.Figure(figure)
        shown = [trace.get("name", "") for trace in figure["data"]]
        shown += [figure["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
        assert not [text for text in shown if "<" in text]


def _hostile_forecast():
    import random

    from agent.contract.rows import ForecastSource

    made = fleetdata.forecast(fleetdata.START_MS + 86_400_000, 1.0, random.Random(1), ForecastSource.ACTIVE)
    return {**made.to_row(made.origin_ms), "model": EVIL[:60], "note": EVIL}


def test_unreadable_rows_are_counted_and_left_out(empty):
    writer = fleetdata.DeviceWriter(empty, "plant-odd")
    good = fleetdata.slot(fleetdata.START_MS, 1.0).to_row()
    start = fleetdata.START_MS
    writer.rows("slots", [good, {"time_ms": start + 1, "energy_wh": "much"}, {**good, "time_ms": 2**52}])
    writer.rows("forecasts", [{"time_ms": start}, {"time_ms": start, "origin_ms": start, "source": "oracle"}])
    nan = {"scope": "today", "currency": "AUD", "low": "1", "high": "1"}
    writer.rows(
        "costs", [{"time_ms": start, "amount": amount, **nan} for amount in ("NaN", "Infinity", "x", "1e99", 4)]
    )
    writer.rows("alerts", [{"time_ms": start, "rule": 7}])
    writer.rows("events", [{"time_ms": start, "kind": "model", "action": None, "model": [1], "reason": {"a": 1}}])
    report, page = page_of(empty)
    assert report.headlines[0].unreadable_rows == 10
    assert "10 rows of this device could not be read" in page.body
    assert len(page.data_scripts) == 1


def test_shows_only_the_devices_asked_for_in_their_order(fleet):
    report, _ = page_of(fleet, devices=["plant-west", "plant-north"])
    assert [line.device for line in report.headlines] == ["plant-west", "plant-north"]


def test_unknown_device_is_refused_with_the_list_of_known_ones(fleet):
    with pytest.raises(ConfigError, match=r"no such device: nowhere.*Registered: plant-north, plant-south, plant-west"):
        page_of(fleet, devices=["plant-north", "nowhere"])


def test_zone_asked_for_wins_over_the_device_s(fleet):
    report, page = page_of(fleet, devices=["plant-north"], zone="Europe/Berlin")
    assert report.headlines[0].zone == "Europe/Berlin"
    assert page.data_scripts["figure-1"]["data"][-1]["x"][0] == "2014-11-16T00:00:00"
    with pytest.raises(ConfigError, match="time zone 'Mars' is unknown"):
        page_of(fleet, zone="Mars")


def test_zone_is_the_plant_s_where_the_device_states_none_that_is_known(empty):
    fleetdata.add_plant(empty, "works", "Asia/Kolkata")
    writer = fleetdata.DeviceWriter(empty, "plant-works", plant="works")
    fleetdata.DeviceWriter(empty, "somewhere")
    writer.rows("events", [event_row(fleetdata.START_MS, "boot", "agent started", zone="Atlantis/Middle")])
    report, _ = page_of(empty)
    assert [(line.device, line.zone) for line in report.headlines] == [
        ("plant-works", "Asia/Kolkata"),
        ("somewhere", "UTC"),
    ]


def test_repeated_channel_and_time_counts_as_duplicated(empty):
    writer = fleetdata.DeviceWriter(empty, "twice")
    writer.readings([1000, 2000, 2000, 3000])
    report, _ = page_of(empty)
    line = report.headlines[0]
    assert (line.readings_held, line.readings_missing, line.readings_duplicated) == (4, 0, 1)
