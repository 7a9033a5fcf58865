"""The durable write: whatever step fails, the file is the old one or the new one, whole."""

import os
import stat
import subprocess
import sys

import pytest

from agent.contract import durable
from agent.contract.durable import new_folder, write_durable
from agent.contract.errors import StorageError
from tests.support.writes import STEPS, instead_of

OLD, NEW = b"old content", b"new content, longer"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "state.json"
    write_durable(path, OLD)
    return path


def test_replaces_a_file_and_leaves_nothing_else(path):
    write_durable(path, NEW)
    assert path.read_bytes() == NEW
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_makes_a_secret_unreadable_for_others(tmp_path):
    path = tmp_path / "key"
    write_durable(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def no_room(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", STEPS)
def test_a_failing_step_leaves_old_or_new_and_no_rubbish(step, path, monkeypatch):
    with monkeypatch.context() as patch:
        instead_of(step, patch, no_room)
        with pytest.raises(StorageError, match="No space left"):
            write_durable(path, NEW)
    assert path.read_bytes() == (NEW if step == "fsync folder" else OLD)
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]
    write_durable(path, NEW)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_old_or_new(step, path):
    """A child process ends without a word at each step, as in a power cut."""
    pid = os.fork()
    if pid == 0:
        instead_of(step, pytest.MonkeyPatch(), lambda *_, **__: os._exit(9))
        write_durable(path, NEW)
        os._exit(1)  # the step was never reached
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert path.read_bytes() == (NEW if step == "fsync folder" else OLD)
    write_durable(path, NEW)
    assert path.read_bytes() == NEW


def test_file_and_folder_are_synced_before_it_returns(path, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, durable.Path.replace

    def fsync(descriptor):
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def replace(self, target):
        order.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(durable.Path, "replace", replace)
    write_durable(path, NEW)
    assert order == ["file", "rename", "folder"]


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_durable(tmp_path / "missing" / "x", b"")


def test_what_is_no_file_is_left_in_its_place(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match="not a file"):
        write_durable(pipe, b"x")
    assert pipe.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


def fill(path):
    """A folder of two files and one below."""
    with new_folder(path) as folder:
        (folder / "one").write_bytes(OLD)
        (folder / "below").mkdir()
        (folder / "below" / "two").write_bytes(NEW)


def steps_of_a_folder(monkeypatch, at=None):
    """Count the calls that make a folder; the one with number `at` fails as a full disk does."""
    calls = []

    def counted(name, real):
        def call(*arguments, **named):
            calls.append((name, arguments[0]))
            if len(calls) - 1 == at:
                raise OSError(28, "No space left on device")
            return real(*arguments, **named)

        return call

    for module, name in (
        (os, "fsync"),
        (durable.Path, "mkdir"),
        (durable.Path, "rename"),
        (durable.Path, "write_bytes"),
    ):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    return calls


def test_a_folder_appears_with_all_of_its_files_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        names = [name for name, _ in made(patch, tmp_path / "model")]
    assert names[-6:] == ["fsync"] * 4 + ["rename", "fsync"]  # two files, two folders; then the name, then its folder
    assert (tmp_path / "model" / "below" / "two").read_bytes() == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def made(patch, path):
    calls = steps_of_a_folder(patch)
    fill(path)
    return calls


def test_whatever_step_fails_a_folder_is_whole_or_absent_and_can_be_made_again(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        count = len(made(patch, tmp_path / "counted" / "model"))
    assert count >= 10
    for at in range(count):
        home = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            steps_of_a_folder(patch, at)
            with pytest.raises(StorageError, match="No space left"):
                fill(home / "model")
        named = at == count - 1  # only the sync of the name itself failed
        assert [path.name for path in home.glob("*")] == (["model"] if named else []), at
        assert [path.name for path in home.glob(".*")] == [], at
        if not named:
            fill(home / "model")
        assert (home / "model" / "below" / "two").read_bytes() == NEW


def test_a_folder_is_not_put_in_the_place_of_another(tmp_path):
    fill(tmp_path / "model")
    (tmp_path / "model" / "three").write_bytes(OLD)
    with pytest.raises(StorageError, match="cannot be written"):
        fill(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["below", "one", "three"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_error_of_who_fills_a_folder_is_told_as_it_is_and_leaves_nothing(tmp_path):
    def fill_badly():
        with new_folder(tmp_path / "model") as folder:
            (folder / "one").write_bytes(OLD)
            raise KeyError

    with pytest.raises(KeyError):
        fill_badly()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from agent.contract.durable import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "one").write_bytes(b"1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_folder_of_that_name(tmp_path):
    for name in ("model", "model-1"):
        assert subprocess.run([sys.executable, "-c", KILLED, tmp_path / name], check=False).returncode == -9
    (of_other, of_model) = sorted(path.name for path in tmp_path.iterdir())
    assert of_model.startswith(".model.")
    assert of_other.startswith(".model-1.")
    (tmp_path / ".model.0123abcd.tmp").write_bytes(b"a file, which `write_durable` or somebody else left")
    fill(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {of_other, ".model.0123abcd.tmp", "model"}


def test_a_folder_that_another_process_is_filling_is_left_alone(tmp_path):
    with new_folder(tmp_path / "model") as folder:
        (folder / "one").write_bytes(OLD)
        with pytest.raises(KeyError), new_folder(tmp_path / "model"):
            raise KeyError
        assert (folder / "one").read_bytes() == OLD
    assert (tmp_path / "model" / "one").read_bytes() == OLD
