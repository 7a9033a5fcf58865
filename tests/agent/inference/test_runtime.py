from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.bundle import Bundle
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.inference import runtime
from agent.inference.runtime import InterpreterRuntime, check_flatbuffer, load_runtime

CASES = Path(__file__).parent / "cases"
INSTALLED = [
    adapter
    for adapter, library in (("agent.inference.litert", "ai_edge_litert"), ("agent.inference.tflite", "tflite_runtime"))
    if importlib.util.find_spec(library)
]
ABSENT = {
    "ai_edge_litert": ("agent.inference.litert", "pip install 'ai-edge-litert"),
    "tflite_runtime": ("agent.inference.tflite", "pip install 'tflite-runtime==2.14.0'"),
}


@pytest.mark.parametrize("adapter", INSTALLED)
def test_every_installed_runtime_reproduces_the_golden_outputs(adapter, bundle):
    loaded = importlib.import_module(adapter).load(bundle.model)
    golden = bundle.golden
    assert loaded.int8
    for recent, steps, raw in zip(golden.recent, golden.steps, golden.raw, strict=True):
        got = loaded.run(recent[None], steps[None])
        assert got.dtype == np.float32
        assert np.max(np.abs(got[0] - raw)) <= golden.tolerance


def test_absent_runtime_fails_at_import_with_the_command_to_type():
    absent = [ABSENT[library] for library in ABSENT if not importlib.util.find_spec(library)]
    assert absent, "each test environment has one of the two runtimes"
    for adapter, command in absent:
        with pytest.raises(ImportError, match=re.escape(command)):
            importlib.import_module(adapter)


def test_without_any_runtime_the_error_names_both_commands(monkeypatch, bundle):
    monkeypatch.setattr(runtime, "_ADAPTERS", ("agent.inference.absent_one", "agent.inference.absent_two"))
    with pytest.raises(UnavailableError, match=r"absent_one.*absent_two"):
        load_runtime(bundle.model)


def test_only_the_adapters_import_the_native_libraries():
    importers = {
        path.name
        for path in Path(runtime.__file__).parents[1].rglob("*.py")
        if re.search(r"^\s*(from|import) (ai_edge_litert|tflite_runtime)", path.read_text(), re.MULTILINE)
    }
    assert importers == {"litert.py", "tflite.py"}


def test_runs_a_float_model_without_quantising(model):
    float_model = load_runtime((CASES / "quarter-hours-float.tflite").read_bytes())
    assert not float_model.int8
    raw = float_model.run(np.zeros(float_model.recent_shape, np.float32), np.zeros(float_model.steps_shape, np.float32))
    assert raw.shape == float_model.raw_shape
    assert np.isfinite(raw).all()


def test_int8_and_float_builds_of_one_network_agree():
    bundle = Bundle.from_bytes((CASES / "quarter-hours.ewb").read_bytes())
    quantised, floating = load_runtime(bundle.model), load_runtime((CASES / "quarter-hours-float.tflite").read_bytes())
    recent, steps = bundle.golden.recent[:1], bundle.golden.steps[:1]
    assert np.max(np.abs(quantised.run(recent, steps) - floating.run(recent, steps))) < 0.2


def test_values_beyond_the_int8_range_saturate(bundle):
    loaded = load_runtime(bundle.model)
    far = loaded.run(np.full(loaded.recent_shape, 1e6, np.float32), np.full(loaded.steps_shape, -1e6, np.float32))
    near = loaded.run(np.full(loaded.recent_shape, 50, np.float32), np.full(loaded.steps_shape, -50, np.float32))
    assert np.array_equal(far, near)


def test_rejects_input_of_another_shape(bundle):
    loaded = load_runtime(bundle.model)
    with pytest.raises(RejectedError, match="shape"):
        loaded.run(np.zeros((2, *loaded.recent_shape[1:]), np.float32), np.zeros(loaded.steps_shape, np.float32))


def test_rejects_a_model_with_one_input():
    with pytest.raises(RejectedError, match="1 inputs"):
        load_runtime((CASES / "one-input.tflite").read_bytes())


def test_rejects_a_model_whose_inputs_have_other_names():
    with pytest.raises(RejectedError, match=r"no single input named 'recent'.*past"):
        load_runtime((CASES / "other-name.tflite").read_bytes())


def test_rejects_zero_threads(bundle):
    with pytest.raises(ConfigError, match="threads"):
        load_runtime(bundle.model, threads=0)


@pytest.mark.parametrize("garbage", [b"", b"TFL3", b"x" * 4096, b"\x10\0\0\0TFL3" + b"\xff" * 4096, b"\0" * 70_000])
def test_rejects_bytes_that_are_no_model(garbage):
    with pytest.raises(RejectedError):
        load_runtime(garbage)


@given(st.binary(max_size=2000))
def test_no_garbage_behind_the_mark_passes_or_escapes_as_another_error(tail):
    with pytest.raises(RejectedError):
        check_flatbuffer(b"\x10\0\0\0TFL3" + tail)


def test_rejects_a_model_cut_short(bundle):
    for kept in range(0, len(bundle.model) * 9 // 10, 97):
        with pytest.raises(RejectedError):
            load_runtime(bundle.model[:kept])


class Odd:
    """An interpreter that stands for a failing native library."""

    def __init__(self, dtype=np.int8, quantization=(0.1, 0), fail=()):
        self.dtype, self.quantization, self.fail = dtype, quantization, fail

    def _detail(self, name, index, shape):
        return {
            "name": name,
            "index": index,
            "shape": np.array(shape),
            "dtype": self.dtype,
            "quantization": self.quantization,
        }

    def allocate_tensors(self):
        if "allocate" in self.fail:
            raise RuntimeError("Encountered unresolved custom op: Flex.")

    def get_input_details(self):
        return [self._detail("x_steps:0", 1, (1, 2, 3)), self._detail("x_recent:0", 0, (1, 4))]

    def get_output_details(self):
        return [self._detail("out", 2, (1, 2, 3))]

    def set_tensor(self, index, value):
        pass

    def invoke(self):
        raise RuntimeError("vector::reserve")


def test_a_model_with_unknown_ops_is_rejected_in_our_words():
    with pytest.raises(RejectedError, match=r"odd 1\.0 cannot execute the model .*Flex"):
        InterpreterRuntime(Odd(fail=("allocate",)), "odd 1.0")


@pytest.mark.parametrize(("dtype", "quantization"), [(np.uint8, (0.1, 0)), (np.int8, (0.0, 0)), (np.int8, (np.nan, 0))])
def test_rejects_tensors_of_another_kind(dtype, quantization):
    with pytest.raises(RejectedError, match="where int8 with a scale, or float32"):
        InterpreterRuntime(Odd(dtype, quantization), "odd 1.0")


def test_a_failing_run_is_unavailable_not_a_foreign_error():
    with pytest.raises(UnavailableError, match="vector::reserve"):
        InterpreterRuntime(Odd(), "odd 1.0").run(np.zeros((1, 4), np.float32), np.zeros((1, 2, 3), np.float32))
