"""The store that most of these tests begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()
