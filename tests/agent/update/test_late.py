"""The client of the repository that is loaded late."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.assignment import Item, ItemKind
from agent.contract.errors import UnavailableError
from agent.update.late import LateRepository
from agent.update.repository import Target

ITEM = Item(ItemKind.MODEL, "models/x-1.ewb", 3, "0" * 64)


class Repository:
    """Fails once it is closed, as the real one does."""

    def __init__(self) -> None:
        self.closed = self.kept = False

    def fetch(self, item: Item, min_snapshot_version: int) -> Target:
        if self.closed:
            raise UnavailableError("closed")
        return Target(item.path.encode(), min_snapshot_version)

    def keep_floors(self) -> None:
        self.kept = True

    def close(self) -> None:
        self.closed = True


def late(made: list[Repository], pieces: list[bytes]) -> LateRepository:
    def make():
        made.append(Repository())
        return made[-1], pieces.append

    return LateRepository(make)


def test_nothing_is_made_before_something_is_fetched_and_then_once():
    made, pieces = [], []
    repository = late(made, pieces)
    repository.keep_floors()
    repository.deliver(b"nobody asked for it")
    assert (made, pieces) == ([], [])
    assert repository.fetch(ITEM, 4) == repository.fetch(ITEM, 4) == Target(b"models/x-1.ewb", 4)
    repository.keep_floors()
    repository.deliver(b"a piece")
    assert (len(made), made[0].kept, pieces) == (1, True, [b"a piece"])


@pytest.mark.parametrize("fetched_before", [True, False])
def test_what_was_closed_fetches_nothing(fetched_before):
    made = []
    repository = late(made, [])
    if fetched_before:
        repository.fetch(ITEM, 4)
    repository.close()
    with pytest.raises(UnavailableError):
        repository.fetch(ITEM, 4)


def test_an_agent_that_fetches_nothing_does_not_load_the_update_framework():
    code = "import sys, agent.daemon.build, agent.daemon.centre; print(sorted({'tuf', 'urllib3'} & set(sys.modules)))"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=root)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
