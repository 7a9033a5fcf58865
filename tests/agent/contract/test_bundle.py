"""Bundles: the same bytes everywhere, and no way to hand a device something else than the manifest says."""

import dataclasses
import hashlib
import io
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import bundle as bundle_module
from agent.contract.bundle import CARD, GOLDEN, MANIFEST, MODEL, Bundle, Golden, Manifest, Training
from agent.contract.errors import RejectedError
from agent.contract.featurespec import FeatureSpec
from tests.support import bundles
from tests.support.nasty import mutations

SPEC = FeatureSpec(slot_s=3600, horizon=2, zone="UTC", holidays=("2026-12-25",), recent_days=1, recent_step_s=3600)
SCORES = {"naive": 4.0, "teacher": 2.0, "student_float": 2.5, "student_int8": 2.75}


def make(**manifest) -> Bundle:
    values = {
        "name": "plant",
        "version": 3,
        "created_ms": 1_764_000_000_000,
        "feature_spec": SPEC,
        "pinball_kw": SCORES,
        "training": Training("ab" * 32, 17_520, {"epochs": 3}, 12.5, None),
        "tolerance": 0.125,
        **manifest,
    }
    features = len(SPEC.step_names)
    golden = Golden(
        np.arange(24, dtype=np.float32).reshape(1, 24) / 8,
        np.zeros((1, 2, features), np.float32),
        np.ones((1, 3, 3), np.float32),
        values["tolerance"],
    )
    return Bundle(Manifest(**values), b"TFL3 not a real model", golden, {"purpose": "tests"})


def files_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_files(files: dict[str, bytes]) -> bytes:
    """Members as given, and a manifest that names them truly: a builder with bad intent."""
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {
        name: {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name != MANIFEST
    }
    return bundles.zip_stored({**files, MANIFEST: json.dumps(manifest).encode()})


def assert_same(one: Bundle, two: Bundle) -> None:
    assert (one.manifest, one.model, one.card, one.edge_tpu) == (two.manifest, two.model, two.card, two.edge_tpu)
    for name in ("recent", "steps", "raw"):
        assert np.array_equal(getattr(one.golden, name), getattr(two.golden, name))


def test_bytes_are_pinned():
    data = make().to_bytes()
    assert hashlib.sha256(data).hexdigest() == "46e2c4aed76ad9e0321818c1aa84d3c0d56b9eeae8eb157736304161d99e9305"
    assert list(files_of(data)) == [MANIFEST, MODEL, GOLDEN, CARD]
    assert data == make().to_bytes()


def test_round_trip():
    for made in (
        make(),
        dataclasses.replace(make(), edge_tpu=b"tpu"),
        make(max_latency_ms=5.0, calibration={"a": [1]}),
    ):
        assert_same(Bundle.from_bytes(made.to_bytes()), made)


def test_the_committed_bundle_is_read_and_written_alike():
    made = Bundle.from_bytes(bundles.tiny_bytes())
    assert made.to_bytes() == bundles.tiny_bytes()
    assert made.manifest.pinball_kw["student_int8"] < made.manifest.pinball_kw["naive"]


def test_a_bundle_from_before_daily_peaks_is_refused_in_words():
    data = make().to_bytes()
    spec = {name: value for name, value in SPEC.to_json().items() if name != "daily_peaks"}
    with pytest.raises(RejectedError, match="no daily peak; train and convert it again"):
        Bundle.from_bytes(bundles.with_manifest(data, feature_spec=spec))


def test_golden_outputs_without_the_daily_peaks_are_refused():
    golden = dataclasses.replace(make().golden, raw=np.ones((1, SPEC.horizon, 3), np.float32))
    with pytest.raises(RejectedError, match=r"raw has shape \(1, 2, 3\), which does not fit the feature spec"):
        dataclasses.replace(make(), golden=golden).to_bytes()


def test_golden_vectors_are_ordinary_npz():
    with np.load(io.BytesIO(files_of(make().to_bytes())[GOLDEN])) as arrays:
        assert np.array_equal(arrays["recent"], make().golden.recent)
        assert arrays["raw"].shape == (1, 3, 3)


def test_golden_vectors_saved_by_numpy_are_read():
    golden = make().golden
    out = {}
    for name in ("recent", "steps", "raw"):
        array = io.BytesIO()
        np.save(array, getattr(golden, name))
        out[f"{name}.npy"] = array.getvalue()
    files = {**files_of(make().to_bytes()), GOLDEN: bundles.zip_stored(out)}
    assert_same(Bundle.from_bytes(with_files(files)), make())


@pytest.mark.parametrize("student", [4.0, 5.0])
def test_a_student_that_does_not_beat_naive_is_refused_at_build_and_on_the_device(student):
    bad = make(pinball_kw={**SCORES, "student_int8": student})
    with pytest.raises(RejectedError, match="does not beat seasonal naive"):
        bad.to_bytes()
    with pytest.raises(RejectedError, match="does not beat seasonal naive"):
        Bundle.from_bytes(bundles.with_manifest(make().to_bytes(), pinball_kw=bad.manifest.pinball_kw))


class TestBuild:
    @pytest.mark.parametrize(
        "manifest",
        [
            {"name": "Plant 1"},
            {"name": "x" * 49},
            {"version": 0},
            {"version": 2**53 + 1},
            {"tolerance": 3.0},
            {"tolerance": float("nan")},
            {"created_ms": -1},
            {"pinball_kw": {"naive": 1.0}},
            {"training": Training("xyz", 1, {})},
        ],
    )
    def test_refuses_what_a_device_would(self, manifest):
        with pytest.raises((RejectedError, ValueError)):
            make(**manifest).to_bytes()

    @pytest.mark.parametrize(
        "change",
        [
            {"recent": np.zeros((1, 23), np.float32)},
            {"recent": np.full((1, 24), np.nan, np.float32)},
            {"raw": np.zeros((2, 2, 3), np.float32)},
            {
                "recent": np.zeros((0, 24), np.float32),
                "steps": np.zeros((0, 2, 41), np.float32),
                "raw": np.zeros((0, 2, 3), np.float32),
            },
            {"tolerance": 0.5},
        ],
    )
    def test_refuses_golden_vectors_that_do_not_fit(self, change):
        with pytest.raises(RejectedError):
            dataclasses.replace(make(), golden=dataclasses.replace(make().golden, **change)).to_bytes()


class TestTampering:
    def test_any_flipped_byte_is_refused_or_changes_nothing(self):
        """Some bytes of a zip mean nothing (its attributes); whatever still opens must be the same bundle."""
        data = make().to_bytes()
        for index in range(len(data)):
            damaged = bytearray(data)
            damaged[index] ^= 0xFF
            try:
                opened = Bundle.from_bytes(bytes(damaged))
            except RejectedError:
                continue
            assert_same(opened, make())

    def test_bytes_beside_the_members_are_refused(self):
        data = make().to_bytes()
        for changed in (data + b"x" * 50, data + b"\0", b"x" * 50 + data, data[:-2] + b"\x03\0abc"):
            with pytest.raises(RejectedError, match="belong to none of its files"):
                Bundle.from_bytes(changed)

    def test_any_cut_is_refused(self):
        data = make().to_bytes()
        for cut in range(0, len(data), 7):
            with pytest.raises(RejectedError):
                Bundle.from_bytes(data[:cut])

    @pytest.mark.parametrize("name", [MODEL, GOLDEN, CARD])
    def test_a_member_other_than_the_manifest_names_is_refused(self, name):
        files = files_of(make().to_bytes())
        files[name] += b" "
        with pytest.raises(RejectedError, match="not the file"):
            Bundle.from_bytes(bundles.zip_stored(files))

    @pytest.mark.parametrize("name", [MANIFEST, MODEL, GOLDEN, CARD])
    def test_a_missing_member_is_refused(self, name):
        files = files_of(make().to_bytes())
        del files[name]
        with pytest.raises(RejectedError):
            Bundle.from_bytes(bundles.zip_stored(files))

    @pytest.mark.parametrize("name", ["extra.txt", "../model.tflite", "/etc/passwd", "model.tflite/", "MODEL.TFLITE"])
    def test_a_member_more_is_refused(self, name):
        files = {**files_of(make().to_bytes()), name: b"x"}
        with pytest.raises(RejectedError, match="unknown or doubled"):
            Bundle.from_bytes(bundles.zip_stored(files))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_doubled_member_is_refused(self):
        out = io.BytesIO(make().to_bytes())
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr(zipfile.ZipInfo(MODEL), b"another")
        with pytest.raises(RejectedError, match="doubled"):
            Bundle.from_bytes(out.getvalue())


class TestHostileBuilder:
    def test_compressed_members_are_refused(self):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files_of(make().to_bytes()).items():
                archive.writestr(name, data)
        with pytest.raises(RejectedError, match="compressed"):
            Bundle.from_bytes(out.getvalue())

    def test_a_bomb_among_the_golden_vectors_is_refused(self):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("recent.npy", bytes(2**24))
        with pytest.raises(RejectedError, match="compressed"):
            Bundle.from_bytes(with_files({**files_of(make().to_bytes()), GOLDEN: inner.getvalue()}))

    @pytest.mark.parametrize(
        "head",
        [
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999, 24), }\n",
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 24), }\n",
            b"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 24), }\n",
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 24), }\n",
            b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 24), }\n",
            b"__import__('os').abort()\n",
            b"(" * 5000 + b"\n",
            b"",
        ],
    )
    def test_array_headers_are_never_believed(self, head):
        files = files_of(make().to_bytes())
        arrays = files_of(files[GOLDEN])
        arrays["recent.npy"] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(96)
        with pytest.raises(RejectedError, match=r"golden\.npz"):
            Bundle.from_bytes(with_files({**files, GOLDEN: bundles.zip_stored(arrays)}))

    @pytest.mark.parametrize(
        "array", [b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\xff\xff", b"\x93NUMPY\x03\x00" + bytes(200)]
    )
    def test_arrays_cut_short_are_refused(self, array):
        files = files_of(make().to_bytes())
        arrays = {**files_of(files[GOLDEN]), "raw.npy": array}
        with pytest.raises(RejectedError):
            Bundle.from_bytes(with_files({**files, GOLDEN: bundles.zip_stored(arrays)}))

    def test_every_field_of_the_manifest_is_checked(self):
        value = json.loads(files_of(make().to_bytes())[MANIFEST])
        for what, changed in mutations(value):
            try:
                manifest = Manifest.from_json(changed)
            except RejectedError:
                continue
            assert manifest.pinball_kw["student_int8"] < manifest.pinball_kw["naive"], what
            assert Manifest.from_json(json.loads(json.dumps(manifest.to_json({})))) == manifest, what

    def test_every_field_of_the_list_of_files_is_checked(self):
        data = make().to_bytes()
        for what, changed in mutations({"files": json.loads(files_of(data)[MANIFEST])["files"]}):
            try:
                opened = Bundle.from_bytes(bundles.with_manifest(data, files=changed.get("files")))
            except RejectedError:
                continue
            assert_same(opened, make())
            assert what

    def test_a_larger_file_than_allowed_is_refused_unread(self, monkeypatch):
        data = make().to_bytes()
        monkeypatch.setattr(bundle_module, "MAX_BYTES", len(data) - 1)
        with pytest.raises(RejectedError, match="at most"):
            Bundle.from_bytes(data)

    @settings(max_examples=60)
    @given(st.binary(max_size=400))
    def test_any_bytes_are_refused(self, data):
        for text in (data, b"PK\x03\x04" + data, data + b"PK\x05\x06" + bytes(18)):
            with pytest.raises(RejectedError):
                Bundle.from_bytes(text)
