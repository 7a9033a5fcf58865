"""Options as JSON and as files: what is written is read, and what is wrong is refused with the file and the key."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, StorageError
from agent.contract.featurespec import Scaling
from trainer.learning import options, options_file
from trainer.learning.networks import Shape
from trainer.learning.options import Options


def numbers(bounds):
    """Strategies of all values within bounds, by name."""
    return {
        name: st.integers(low, high) if isinstance(low, int) else st.floats(low, high)
        for name, (low, high) in bounds.items()
    }


SHAPES = st.builds(Shape, **numbers(options._SHAPE_BOUNDS))
ANY_OPTIONS = st.builds(
    Options,
    **numbers(options._BOUNDS),
    **{name: st.none() | strategy for name, strategy in numbers(options._STATED).items()},
    scaling=st.sampled_from(Scaling),
    teacher=SHAPES,
    student=SHAPES,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = st.sampled_from([*Options().to_json(), *options._SHAPE_BOUNDS]) | st.text(max_size=8)


def refused(path, like=None):
    with pytest.raises(ConfigError) as caught:
        options_file.read(path, like=like or Options())
    assert str(path) in str(caught.value)
    return str(caught.value)


def file_of(tmp_path, value):
    path = tmp_path / "works.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


class TestJson:
    @given(ANY_OPTIONS)
    def test_what_is_written_is_read(self, of):
        value = json.loads(json.dumps(of.to_json()))
        assert Options.from_json(value, where="options") == of

    @given(st.dictionaries(NAMES, JSON, max_size=4) | JSON)
    def test_anything_else_is_read_or_refused_with_its_place(self, value):
        try:
            found = Options.from_json(value, where="works.json")
        except ConfigError as exc:
            place = exc.where
        else:
            place = "works.json"
            assert Options.from_json(found.to_json(), where="works.json") == found
        assert place.startswith("works.json")

    def test_what_is_not_said_is_as_before(self):
        like = replace(Options().quick(), seed=9, package_power_w=30.0)
        assert Options.from_json({}, where="options", like=like) == like
        found = Options.from_json({"batch": 16, "teacher": {"noise": 0.2}}, where="options", like=like)
        assert found == replace(like, batch=16, teacher=replace(like.teacher, noise=0.2))
        assert Options.from_json({"package_power_w": None}, where="options", like=like).package_power_w is None

    def test_bounds_hold_all_options(self):
        of = Options().to_json()
        rest = {"scaling", "teacher", "student"}
        assert set(of) == {*options._BOUNDS, *options._STATED, *rest}
        assert set(of["teacher"]) == set(options._SHAPE_BOUNDS)

    @pytest.mark.parametrize(
        ("value", "complaint"),
        [
            ({"teacherz": 3}, "options.teacherz: is no option"),
            ({"teachers": 0}, "options.teachers: 0 is outside 1..9"),
            ({"teachers": 2.0}, "options.teachers: is not an integer"),
            ({"teachers": True}, "options.teachers: is not an integer"),
            ({"batch": "64"}, "options.batch: is not an integer"),
            ({"seed": 2**31}, "options.seed: 2147483648 is outside"),
            ({"peak_rate": None}, "options.peak_rate: is not a finite number"),
            ({"peak_rate": float("nan")}, "options.peak_rate: is not a finite number"),
            ({"made_share": 1.5}, "options.made_share: 1.5 is outside"),
            ({"weight_decay": 10**400}, "options.weight_decay: is not a finite number"),
            ({"scaling": "none"}, "options.scaling: 'none'"),
            ({"scaling": 1}, "options.scaling: is not a string"),
            ({"teacher": 3}, "options.teacher: is not an object"),
            ({"teacher": {"dropout": 1.0}}, "options.teacher.dropout: 1.0 is outside"),
            ({"student": {"width": 4}}, "options.student.width: is no option"),
            ([], "options: is not an object"),
        ],
    )
    def test_refuses_what_cannot_be(self, value, complaint):
        with pytest.raises(ConfigError) as caught:
            Options.from_json(value, where="options")
        assert str(caught.value).startswith(complaint)


class TestFile:
    def test_what_is_written_is_read(self, tmp_path):
        of = replace(Options(), batch=48, scaling=Scaling.GLOBAL, teacher=Shape(16, 2, 16, noise=0.25))
        options_file.write(tmp_path / "works.json", of, {"plant": "works"})
        assert options_file.read(tmp_path / "works.json", like=Options().quick()) == of
        assert json.loads((tmp_path / "works.json").read_text())["search"] == {"plant": "works"}

    def test_a_file_written_by_hand_may_say_little(self, tmp_path):
        path = file_of(tmp_path, {"schema": 1, "options": {"teachers": 2}})
        assert options_file.read(path, like=Options()) == replace(Options(), teachers=2)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("", "is empty"),
            ("{", "is not valid JSON"),
            ("[]", "is not a JSON object"),
            ("[" * 100_000, "is not valid JSON"),
            ('{"schema": 1, "options": {"batch": NaN}}', "NaN is not allowed"),
            ('{"schema": 1, "options": {"batch": 8, "batch": 9}}', "a key stands twice"),
            ('{"schema": 1, "options": {"batch": ' + "9" * 5000 + "}}", "is not valid JSON"),
            ({"options": {}}, "works.json.schema: is missing"),
            ({"schema": 2, "options": {}}, "works.json.schema: 2 is outside"),
            ({"schema": 1}, "works.json.options: is missing"),
            ({"schema": 1, "options": {}, "batch": 3}, "works.json.batch: is unknown"),
            ({"schema": 1, "options": {"batch": 0}}, "works.json.options.batch: 0 is outside"),
            ({"schema": 1, "options": {}, "search": "x" * 2**20}, "is larger than 1 MiB"),
        ],
    )
    def test_refuses_a_file_that_is_none(self, tmp_path, content, complaint):
        assert complaint in refused(file_of(tmp_path, content))

    def test_refuses_bytes_that_are_no_text_and_files_that_are_not_there(self, tmp_path):
        (tmp_path / "raw.json").write_bytes(b"\xff\xfe\x00")
        assert "is not valid JSON" in refused(tmp_path / "raw.json")
        assert "cannot be read" in refused(tmp_path / "none.json")
        assert "cannot be read" in refused(tmp_path)

    def test_a_folder_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(StorageError):
            options_file.write(tmp_path / "none" / "works.json", Options(), {})
