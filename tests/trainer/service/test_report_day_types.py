"""Day types in the report: of plants that have load, readable without JavaScript, and in words where there is none."""

import html

import plotly.graph_objects
import pytest

from tests.support import fleetdata
from tests.support.livedplants import hold, lived_plant
from trainer.cli.home import Home
from trainer.service.figures import day_types_figure
from trainer.service.habits import plant_parts
from trainer.service.report import Options, build_report


@pytest.fixture
def home(tmp_path):
    return Home.of(tmp_path)


@pytest.fixture
def engine(home, tmp_path):
    engine = fleetdata.empty(tmp_path)
    hold(home, lived_plant(60, 3600, plant="mill"))
    hold(home, lived_plant(60, 3600, plant="alone"))
    hold(home, lived_plant(5, 3600, plant="<b>young"))
    fleetdata.DeviceWriter(engine, "press-1", plant="mill")
    fleetdata.DeviceWriter(engine, "press-2", plant="mill")
    fleetdata.DeviceWriter(engine, "press-3", plant="<b>young")
    fleetdata.DeviceWriter(engine, "press-4")
    yield engine
    engine.dispose()


def page_of(engine, **options):
    return build_report(engine, Options(**options), now_ms=fleetdata.NOW_MS).html


def test_plants_of_the_devices_are_shown_once_and_others_not(engine):
    page = page_of(engine)
    assert "<h2>Day types</h2>" in page
    assert page.count("<td>working day</td>") == 1
    assert "60 whole days" in page
    assert "alone" not in page
    assert html.escape("<b>young") in page
    assert "<b>young" not in page
    assert "5 whole days where a profile needs 14" in page


def test_only_the_devices_asked_for_count(engine):
    assert [part.plant for part in plant_parts(engine, ["press-1"])] == ["mill"]
    assert "<h2>Day types</h2>" not in page_of(engine, devices=["press-4"])


def test_figure_is_one_that_plotly_draws(engine):
    (part,) = plant_parts(engine, ["press-2"])
    figure = plotly.graph_objects.Figure(part.figure)
    assert [trace.name for trace in figure.data][2:] == [one.name for one in part.types]
    assert all(len(trace.y) == 48 for trace in figure.data)
    assert day_types_figure(part.types, part.zone) == part.figure
