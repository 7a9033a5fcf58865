"""The durable write: whatever step fails, the file is the old one or the new one, whole."""

import os
import stat

import pytest

from agent.contract import durable
from agent.contract.durable import write_durable
from agent.contract.errors import StorageError

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


STEPS = ["open", "fdopen", "fsync", "replace", "fsync folder"]


def fail_at(step, monkeypatch):
    """Make one step of the write fail as a full disk does."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    real_fsync, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == (1 if step == "fsync" else 2):
            full()
        real_fsync(descriptor)

    if step in {"fsync", "fsync folder"}:
        monkeypatch.setattr(os, "fsync", fsync)
    elif step == "replace":
        monkeypatch.setattr(durable.Path, "replace", full)
    else:
        monkeypatch.setattr(os, step, full)


@pytest.mark.parametrize("step", STEPS)
def test_a_failing_step_leaves_old_or_new_and_no_rubbish(step, path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(step, patch)
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
        patch = pytest.MonkeyPatch()
        fail_at_exit(step, patch)
        write_durable(path, NEW)
        os._exit(1)  # the step was never reached
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert path.read_bytes() == (NEW if step == "fsync folder" else OLD)
    write_durable(path, NEW)
    assert path.read_bytes() == NEW


def fail_at_exit(step, patch):
    def die(*_, **__):
        os._exit(9)

    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == (1 if step == "fsync" else 2):
            die()
        real(descriptor)

    if step in {"fsync", "fsync folder"}:
        patch.setattr(os, "fsync", fsync)
    elif step == "replace":
        patch.setattr(durable.Path, "replace", die)
    else:
        patch.setattr(os, step, die)


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
