"""Files that people name: every reader refuses what is no file before it opens it."""

import os
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from agent.sources.csv_file import read_load_csv
from trainer.backtest.forecast_files import read_origins
from trainer.backtest.frames import Frame
from trainer.dataset.files import read_file


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
