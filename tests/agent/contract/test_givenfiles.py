"""Files that people name: what is no file, or too large, is refused before it is opened."""

import os
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.sources.csv_file import read_load_csv
from trainer.backtest.forecast_files import read_origins
from trainer.backtest.frames import Frame
from trainer.dataset.files import read_file

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


def read_a_load(path):
    read_file(path, zone="UTC", timestamp_column="timestamp", columns=["load"])


def read_on_a_device(path):
    read_load_csv(path, zone="UTC")


def read_the_origins(path):
    read_origins(path, Frame("UTC"))


@pytest.mark.parametrize("read", [read_a_load, read_on_a_device, read_the_origins])
def test_no_reader_waits_for_a_pipe_or_reads_a_device_without_end(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="it is a folder, a device or a pipe"):
            read(path)
