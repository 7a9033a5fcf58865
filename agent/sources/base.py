"""What the daemon needs of a source of readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.contract.channels import Channel, Reading


@dataclass(frozen=True, slots=True)
class SourceStats:
    """What a source has done since it was made.

    Attributes:
        sampled: readings handed over.
        skipped: values that the source does not have: empty cells, gaps, drop-outs.
        read_errors: attempts that failed.
        last_error: the latest failure in words, empty where there was none.
    """

    sampled: int = 0
    skipped: int = 0
    read_errors: int = 0
    last_error: str = ""


class Source(Protocol):
    """Gives each reading once, in order of time for each channel."""

    @property
    def channels(self) -> Sequence[Channel]:
        """What it measures."""

    @property
    def exhausted(self) -> bool:
        """Whether it has nothing more to give, ever."""

    @property
    def has_own_times(self) -> bool:
        """Whether its readings bring their times, as from a file; else they are stamped by the plant clock."""

    def stepped(self, step_ms: int) -> None:
        """Go on when the plant clock was set ahead by so much, or back."""

    def resume(self, last_time_ms: Mapping[str, int]) -> None:
        """Skip what is stored already: for each channel, everything up to this time. Called before `poll`."""

    def poll(self, now_ms: int) -> list[Reading]:
        """Return what has become known up to `now_ms` of the plant clock and was not returned before."""

    def stats(self) -> SourceStats:
        """Return counters."""
