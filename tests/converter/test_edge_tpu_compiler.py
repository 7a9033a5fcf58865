"""What becomes of the Edge TPU's compiler: a program that is not ours and may be absent, broken or at odds with a model."""

from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from converter import conversion, modeldir
from converter.modeldir import ModelDir


def compile_with(script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    tools = tmp_path / "tools"
    tools.mkdir()
    if script is not None:
        program = tools / conversion.EDGE_TPU_COMPILER
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    (tmp_path / modeldir.INT8).write_bytes(b"model")
    return conversion._compile_for_edge_tpu(ModelDir(tmp_path))


def test_without_the_compiler_it_says_so(tmp_path, monkeypatch):
    assert "not" in compile_with(None, tmp_path, monkeypatch)
    assert not (tmp_path / modeldir.EDGE_TPU).exists()


def test_what_the_compiler_makes_is_found(tmp_path, monkeypatch):
    # As the real one names its output: <model>_edgetpu.tflite in --out_dir.
    script = '#!/bin/sh\ncp "$4" "$3/$(basename "$4" .tflite)_edgetpu.tflite"\n'
    assert "compiled by" in compile_with(script, tmp_path, monkeypatch)
    assert (tmp_path / modeldir.EDGE_TPU).read_bytes() == b"model"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho 'Model not quantized' >&2\nexit 1\n", "Model not quantized"),
        ("#!/bin/sh\nexit 0\n", "failed"),
        ("#!/no/such/interpreter\n", "did not run to its end"),
    ],
)
def test_a_compiler_that_fails_is_one_clear_error(script, words, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=words):
        compile_with(script, tmp_path, monkeypatch)


def test_a_compiler_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_COMPILER_TIMEOUT_S", 0.2)
    with pytest.raises(ConfigError, match="did not run to its end"):
        compile_with("#!/bin/sh\nexec sleep 30\n", tmp_path, monkeypatch)
