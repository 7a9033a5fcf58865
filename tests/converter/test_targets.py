"""Which operators each target takes: versions asked of the real runtimes, Edge TPU conditions on real and edited models."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from agent.contract.bundle import Bundle
from agent.contract.errors import RejectedError
from converter import targets
from converter.operators import Graph, Operator, Tensor, read_graph
from tests.support import bundles

ROOT = Path(__file__).resolve().parents[2]
TFLITE_PYTHON = ROOT / ".venv-tflite" / "bin" / "python"
MODEL = Bundle.from_bytes(bundles.tiny_bytes()).model
CODES = {name: value for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
# Prints which of the models given can be loaded.
ASK = """
import json, sys
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
taken = []
for path in sys.argv[1:]:
    try:
        Interpreter(model_path=path)
        taken.append(path)
    except (ValueError, RuntimeError):
        pass
print(json.dumps(taken))
"""


def edited(change):
    """The tiny model after `change(model)` of its parsed form."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(MODEL, 0))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_operator(name, version):
    """The tiny model, which now also names an operator that it does not use."""

    def change(model):
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = CODES[name], version
        code.deprecatedBuiltinCode = min(CODES[name], 127)
        model.operatorCodes.append(code)

    return edited(change)


def operators_of(model, name):
    return [
        operator
        for operator in model.subgraphs[0].operators
        if CODES[name] == model.operatorCodes[operator.opcodeIndex].builtinCode
    ]


def obstacles(model, target):
    return {
        (verdict.name, reason) for verdict in targets.judge(read_graph(model)) for reason in verdict.obstacles[target]
    }


def test_a_sound_model_meets_no_obstacle_and_its_table_says_so():
    verdicts = targets.judge(read_graph(MODEL))
    targets.check(verdicts)
    lines = targets.table(verdicts)
    assert len(lines) == len(verdicts)
    assert all("Edge TPU yes, tflite-runtime 2.14 yes, LiteRT 2 yes" in line for line in lines)


@pytest.mark.parametrize(
    ("target", "python"), [(targets.LITERT, Path(sys.executable)), (targets.TFLITE_RUNTIME, TFLITE_PYTHON)]
)
def test_the_versions_stated_are_the_newest_that_the_runtime_takes(target, python, tmp_path):
    for name, newest in targets._RUNTIMES[target].items():
        for version in (newest, newest + 1):
            (tmp_path / f"{name}-{version}").write_bytes(with_operator(name, version))
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([python, "-c", ASK, *files], capture_output=True, text=True, check=True)
    assert {Path(path).name for path in json.loads(done.stdout)} == {
        f"{name}-{newest}" for name, newest in targets._RUNTIMES[target].items()
    }


def test_a_newer_version_of_an_operator_is_refused_by_name_and_place():
    def change(model):
        for operator in operators_of(model, "CONV_2D"):
            model.operatorCodes[operator.opcodeIndex].version = 8

    model = edited(change)
    assert obstacles(model, targets.TFLITE_RUNTIME) == {("CONV_2D", "knows it up to version 7")}
    assert obstacles(model, targets.LITERT) == obstacles(model, targets.EDGE_TPU) == set()
    with pytest.raises(RejectedError, match=r"\d CONV_2D v8 \(tflite-runtime 2\.14: knows it up to version 7\)"):
        targets.check(targets.judge(read_graph(model)))


def test_an_operator_that_no_list_has_is_refused_everywhere():
    def change(model):
        for operator in operators_of(model, "ADD"):
            model.operatorCodes[operator.opcodeIndex].builtinCode = CODES["GELU"]

    for target in (targets.EDGE_TPU, targets.TFLITE_RUNTIME, targets.LITERT):
        assert {name for name, _ in obstacles(edited(change), target)} == {"GELU"}


def test_edge_tpu_takes_no_activation_fused_into_pooling():
    def change(model):
        for operator in operators_of(model, "AVERAGE_POOL_2D"):
            operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU

    assert obstacles(edited(change), targets.EDGE_TPU) == {("AVERAGE_POOL_2D", "has a fused activation")}


def test_edge_tpu_takes_one_dilation_for_both_directions():
    def change(model):
        for operator in operators_of(model, "CONV_2D"):
            operator.builtinOptions.dilationWFactor = 2

    assert obstacles(edited(change), targets.EDGE_TPU) == {("CONV_2D", "has different dilations in x and y")}


def test_edge_tpu_takes_8_bit_tensors_of_fixed_shape_alone():
    def float_output(model):
        part = model.subgraphs[0]
        part.tensors[part.outputs[0]].type = schema.TensorType.FLOAT32

    def open_batch(model):
        part = model.subgraphs[0]
        tensor = part.tensors[part.outputs[0]]
        tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], dtype=np.int32)

    assert {reason for _, reason in obstacles(edited(float_output), targets.EDGE_TPU)} == {"a tensor is not of 8 bits"}
    assert {reason for _, reason in obstacles(edited(open_batch), targets.EDGE_TPU)} == {"a shape is not fixed"}


def tensor(*shape, kind="INT8", values=None):
    content = None if values is None else np.array(values, dtype=np.int32).view(np.uint8)
    return Tensor(kind, shape, static=True, content=content)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "options", "taken"),
    [
        ("FULLY_CONNECTED", [tensor(1, 8)], [tensor(1, 4)], {}, True),
        ("FULLY_CONNECTED", [tensor(2, 8)], [tensor(2, 4)], {}, False),
        ("FULLY_CONNECTED", [tensor(1, 8)], [tensor(1, 4)], {"weightsFormat": 1}, False),
        ("ADD", [tensor(2, 3, 4, 5)], [tensor(2, 3, 4, 5)], {}, False),
        ("ADD", [tensor(1, 3, 4, 5)], [tensor(1, 3, 4, 5)], {}, True),
        ("CONCATENATION", [tensor(1, 4), tensor(1, 4)], [tensor(1, 8)], {"fusedActivationFunction": 1}, False),
        ("CONCATENATION", [tensor(1, 4), tensor(1, 4, values=[0])], [tensor(1, 8)], {}, True),
        ("CONCATENATION", [tensor(1, 4), tensor(1, 4, values=[7])], [tensor(1, 8)], {}, False),
        ("CONCATENATION", [tensor(1, 4), tensor(1, 4), tensor(1, 4, values=[0])], [tensor(1, 12)], {}, False),
        ("PAD", [tensor(1, 4), tensor(2, 2, kind="INT32", values=[0, 0, 0, 2])], [tensor(1, 6)], {}, True),
        ("PAD", [tensor(1, 4), tensor(2, 2, kind="INT32", values=[0, 1, 0, 0])], [tensor(2, 4)], {}, False),
        ("PAD", [tensor(1, 4), tensor(2, 2)], [tensor(1, 6)], {}, False),
        ("MEAN", [tensor(1, 4, 6), tensor(1, kind="INT32", values=[1])], [tensor(1, 6)], {}, True),
        ("MEAN", [tensor(1, 4, 6), tensor(1, kind="INT32", values=[0])], [tensor(4, 6)], {}, False),
        ("MEAN", [tensor(1, 4, 6), tensor(1, kind="INT32", values=[-1])], [tensor(1, 4)], {}, False),
        ("MEAN", [tensor(1, 4, 8), tensor(1, kind="INT32", values=[-1])], [tensor(1, 4)], {}, True),
        ("SUM", [tensor(1, 4, 6), tensor(1, kind="INT32", values=[-1])], [tensor(1, 4)], {}, True),
        ("PACK", [tensor(4), tensor(4)], [tensor(2, 4)], {"axis": 0}, False),
        ("SPLIT", [tensor(kind="INT32", values=[1]), tensor(1, 4)], [tensor(1, 2)], {}, True),
        ("SPLIT", [tensor(kind="INT32", values=[-2]), tensor(2, 4)], [tensor(1, 4)], {}, False),
        ("SOFTMAX", [tensor(1, 8)], [tensor(1, 8)], {}, True),
        ("SOFTMAX", [tensor(4, 8)], [tensor(4, 8)], {}, False),
        ("SOFTMAX", [tensor(1, 16_001)], [tensor(1, 16_001)], {}, False),
        ("STRIDED_SLICE", [tensor(1, 4)] * 3 + [tensor(2, kind="INT32", values=[1, 1])], [tensor(1, 2)], {}, True),
        ("STRIDED_SLICE", [tensor(1, 4)] * 3 + [tensor(2, kind="INT32", values=[1, 2])], [tensor(1, 2)], {}, False),
        ("GELU", [tensor(1, 4)], [tensor(1, 4)], {}, False),
    ],
)
def test_the_published_conditions_of_the_edge_tpu(name, inputs, outputs, options, taken):
    graph = Graph((Operator(name, 1, tuple(inputs), tuple(outputs), options),), (), (), 0.1)
    (verdict,) = targets.judge(graph)
    assert (not verdict.obstacles[targets.EDGE_TPU]) == taken, verdict.obstacles


class TestArena:
    def chain(self, *sizes):
        tensors = [tensor(size) for size in sizes]
        steps = itertools.pairwise(tensors)
        operators = tuple(Operator("RELU", 1, (one,), (two,), {}) for one, two in steps)
        return Graph(operators, (tensors[0],), (tensors[-1],), 0.1)

    def test_values_that_never_meet_share_memory(self):
        # The input lives to the end; of the others only two neighbours at a time.
        assert self.chain(64, 640, 128, 640, 128, 64).arena_bytes == 64 + 640 + 128

    def test_the_output_lives_to_the_end_though_it_is_made_early(self):
        given, out, side = tensor(64), tensor(256), tensor(512)
        operators = (Operator("RELU", 1, (given,), (out,), {}), Operator("RELU", 1, (given,), (side,), {}))
        assert Graph(operators, (given,), (out,), 0.1).arena_bytes == 64 + 256 + 512

    def test_a_value_takes_whole_lines_of_64_bytes(self):
        assert self.chain(1, 65).arena_bytes == 64 + 128

    def test_constants_take_none(self):
        operator = Operator("ADD", 1, (tensor(64), tensor(4096, values=[1])), (tensor(64),), {})
        assert Graph((operator,), operator.inputs[:1], operator.outputs, 0.1).arena_bytes == 128

    def test_of_a_real_model_it_holds_at_least_inputs_and_output(self):
        graph = read_graph(MODEL)
        ends = sum(tensor.size_bytes for tensor in (*graph.inputs, *graph.outputs))
        assert ends <= graph.arena_bytes < 4 * ends


@pytest.mark.parametrize("damaged", [b"", b"no model", MODEL[:200]])
def test_what_is_no_model_is_refused(damaged):
    with pytest.raises(RejectedError):
        read_graph(damaged)


def test_a_model_with_control_flow_is_refused():
    with pytest.raises(RejectedError, match="2 subgraphs"):
        read_graph(edited(lambda model: model.subgraphs.append(model.subgraphs[0])))
