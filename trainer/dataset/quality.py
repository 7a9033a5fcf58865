"""What a load curve looks like to someone who knows meters: what is wrong, how much of it, and where first.

It only tells. What is taken out before training is decided in `cleaning`, and told here in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.zones import utc_iso
from trainer.dataset.cleaning import Mask, clean, runs
from trainer.dataset.clockshift import day_moves
from trainer.dataset.flags import Flag

_STANDSTILL_S = 12 * 3600
_LISTED = 20
_WORDS = {
    Flag.GAP: "gap",
    Flag.SPIKE: "spike far beyond all other load, not learnt from",
    Flag.DROPOUT: "drop to zero in a plant that never is at zero, not learnt from",
    Flag.FROZEN: "stretch of a meter that repeats itself, not learnt from",
    Flag.COPY: "stretch that is a copy of a day or a week before, not learnt from",
    Flag.RESET: "counter that went back, its step left out",
    Flag.ROLLOVER: "counter that passed its end",
    Flag.DUPLICATE: "row whose time stood twice, left out",
    Flag.CLOCK: "row whose time cannot be, left out",
    Flag.VALUE: "cell that was no number",
    Flag.STANDSTILL: "standstill of half a day or longer at one value",
}


@dataclass(frozen=True)
class Stretch:
    """Consecutive slots that share a fault."""

    start_ms: int
    slots: int


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        flag: its name.
        count: stretches of it.
        slots: slots in all of them.
        share: of all slots.
        longest: the longest stretch, the first of several.
        first: the first 20 stretches.
    """

    flag: Flag
    count: int
    slots: int
    share: float
    longest: Stretch
    first: tuple[Stretch, ...]

    def line(self) -> str:
        """One remark for a technician."""
        text = f"{self.count} x {_WORDS[self.flag]}: {self.slots} slots ({self.share:.2%}), first"
        text += f" {utc_iso(self.first[0].start_ms)}"
        if self.longest.slots > 1:
            text += f", longest {self.longest.slots} slots at {utc_iso(self.longest.start_ms)}"
        return text


@dataclass(frozen=True)
class Quality:
    """What was found in a series.

    Attributes:
        slots: from the first to the last one.
        known: of them with a value.
        negative: slots below zero (feed-in, or a current clamp put on the wrong way round).
        constant: the load never changes.
        day_moves: see `clockshift.day_moves`.
        findings: of each kind that occurs.
    """

    slots: int
    known: int
    first_ms: int
    last_ms: int
    mean_kw: float
    peak_kw: float
    negative: int
    constant: bool
    day_moves: bool
    findings: tuple[Finding, ...]

    def finding(self, flag: Flag) -> Finding | None:
        """What was found of one kind."""
        return next((finding for finding in self.findings if finding.flag is flag), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Remarks for a technician; the first one sums up."""
        span = f"{utc_iso(self.first_ms)} to {utc_iso(self.last_ms)}"
        level = f"mean {self.mean_kw:.6g} kW, peak {self.peak_kw:.6g} kW"
        text = [f"{self.known} slots, {span}, {self.known / self.slots:.2%} complete, {level}"]
        text += [finding.line() for finding in self.findings]
        if self.negative:
            text.append(f"{self.negative} slots below zero: feed-in, or a current clamp the wrong way round?")
        if self.day_moves:
            text.append(
                "the plant's day moves when the clocks do: were the times of the file local, not as --timestamps-in "
                "says? Or the plant keeps standard time"
            )
        if self.constant:
            text.append("the load never changes: nothing can be learnt from it")
        return text


def assess(
    start_ms: int, slot_s: int, zone: str, power_kw: Floats, noted: Mapping[Flag, Sequence[int]] | None = None
) -> Quality:
    """Look at a series of consecutive slots.

    Args:
        start_ms: start of the first slot.
        slot_s: slot length.
        zone: the plant's zone.
        power_kw: [T] with NaN where unknown; one at least is known.
        noted: what was found while reading the files, as starts of slots.
    """
    known = power_kw[np.isfinite(power_kw)]
    marks = dict(clean(power_kw, DAY_S // slot_s).flags)
    wrong = marks.get(Flag.FROZEN, np.zeros(len(power_kw), dtype=np.bool_))
    marks[Flag.STANDSTILL] = _standstills(power_kw, _STANDSTILL_S // slot_s) & ~wrong
    for flag, times in (noted or {}).items():
        at = (np.array(times, dtype=np.int64) - start_ms) // (slot_s * 1000)
        marks[flag] = np.zeros(len(power_kw), dtype=np.bool_)
        marks[flag][at[(at >= 0) & (at < len(power_kw))]] = True
    found = (_finding(flag, marks[flag], start_ms, slot_s) for flag in Flag if flag in marks)
    return Quality(
        slots=len(power_kw),
        known=len(known),
        first_ms=start_ms,
        last_ms=start_ms + (len(power_kw) - 1) * slot_s * 1000,
        mean_kw=float(known.mean()),
        peak_kw=float(known.max()),
        negative=int((known < 0).sum()),
        constant=bool(len(known) > 1 and (known == known[0]).all()),
        day_moves=day_moves(start_ms, slot_s, zone, power_kw),
        findings=tuple(finding for finding in found if finding is not None),
    )


def _finding(flag: Flag, marks: Mask, start_ms: int, slot_s: int) -> Finding | None:
    stretches = [Stretch(start_ms + int(low) * slot_s * 1000, int(high - low)) for low, high in runs(marks)]
    if not stretches:
        return None
    slots = int(marks.sum())
    longest = max(stretches, key=lambda stretch: stretch.slots)
    return Finding(flag, len(stretches), slots, slots / len(marks), longest, tuple(stretches[:_LISTED]))


def _standstills(power_kw: Floats, least: int) -> Mask:
    same = np.concatenate([[False], power_kw[1:] == power_kw[:-1]])
    marks = np.zeros(len(power_kw), dtype=np.bool_)
    for low, high in runs(same):
        marks[low - 1 : high] = high - low + 1 >= least
    return marks
