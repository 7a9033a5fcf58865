"""Files that people name: what is no file, or too large, is refused before it is opened."""

import os

import pytest

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file, check_replaceable

MIB = 2**20


def test_a_file_and_a_link_to_one_are_taken(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x" * MIB)
    (tmp_path / "b.csv").symlink_to("a.csv")
    check_file(tmp_path / "a.csv", MIB)
    check_file(tmp_path / "b.csv", MIB)


def test_one_byte_too_many_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x" * (MIB + 1))
    with pytest.raises(ConfigError, match=r"a\.csv: is larger than 1 MiB. Split the file"):
        check_file(tmp_path / "a.csv", MIB)


@pytest.mark.parametrize("name", ["", "none.csv", "x" * 300, "a\0b"])
def test_a_folder_and_what_is_not_there_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read"):
        check_file(tmp_path / name, MIB)


def test_a_file_of_another_kind_is_not_written_over(tmp_path):
    path = tmp_path / "out"
    check_replaceable(path, b"EWX1")
    path.write_bytes(b"EWX1 and more")
    check_replaceable(path, b"EWX1")
    for other in (b"", b"EWX", b"SQLite format 3\0", b"[device]"):
        path.write_bytes(other)
        with pytest.raises(ConfigError, match="of another kind"):
            check_replaceable(path, b"EWX1")
    with pytest.raises(ConfigError, match="cannot be written"):
        check_replaceable(tmp_path, b"EWX1")


def test_a_pipe_in_place_of_a_file_to_write_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe"):
        check_replaceable(tmp_path / "pipe", b"EWX1")
