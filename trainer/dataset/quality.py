"""What a series of slots looks like to someone who knows meters: gaps, spikes, frozen stretches. It only reports.

Nothing is corrected here: a wrong value that is silently mended teaches nobody that a meter is failing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contract.features import DAY_S, Floats
from agent.contract.zones import utc_iso

_FROZEN_S = 4 * 3600  # the very same value for longer than this is a meter that repeats itself, or a plant at rest
_SPIKE_SIGMAS = 12.0
_SPIKE_SHARE = 0.3  # of the typical load: smaller jumps are load, whatever their statistics
_LISTED = 20


@dataclass(frozen=True)
class Stretch:
    """Consecutive slots that share a fault."""

    start_ms: int
    slots: int


@dataclass(frozen=True)
class Quality:
    """What was found in a series.

    Attributes:
        slots: from the first to the last known slot.
        known: of them with a value.
        gaps, frozen, spikes: the longest 20 each; `*_count` are all of them.
        negative: slots below zero (feed-in, or a current clamp put on the wrong way round).
    """

    slots: int
    known: int
    first_ms: int
    last_ms: int
    mean_kw: float
    peak_kw: float
    negative: int
    gap_count: int
    longest_gap_slots: int
    frozen_count: int
    spike_count: int
    gaps: tuple[Stretch, ...]
    frozen: tuple[Stretch, ...]
    spikes: tuple[Stretch, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Remarks for a technician; the first one sums up."""
        share = self.known / self.slots
        span = f"{utc_iso(self.first_ms)} to {utc_iso(self.last_ms)}"
        level = f"mean {self.mean_kw:.6g} kW, peak {self.peak_kw:.6g} kW"
        text = [f"{self.known} slots, {span}, {share:.2%} complete, {level}"]
        for count, found, words in (
            (self.gap_count, self.gaps, "gap"),
            (self.frozen_count, self.frozen, "stretch of one unchanging value"),
            (self.spike_count, self.spikes, "spike"),
        ):
            if count:
                worst = max(found, key=lambda stretch: stretch.slots)
                text.append(f"{count} x {words}, the longest {worst.slots} slots at {utc_iso(worst.start_ms)}")
        if self.negative:
            text.append(f"{self.negative} slots below zero: feed-in, or a current clamp the wrong way round?")
        return text


def assess(start_ms: int, slot_s: int, power_kw: Floats) -> Quality:
    """Look at a series of consecutive slots.

    Args:
        start_ms: start of the first slot.
        slot_s: slot length.
        power_kw: [T] with NaN where unknown; the first and last are known.
    """
    known = np.isfinite(power_kw)
    values = power_kw[known]
    gaps = _stretches(~known, start_ms, slot_s)
    same = np.concatenate([[False], power_kw[1:] == power_kw[:-1]])
    frozen = [
        Stretch(run.start_ms - slot_s * 1000, run.slots + 1)
        for run in _stretches(same, start_ms, slot_s)
        if (run.slots + 1) * slot_s > _FROZEN_S
    ]
    spikes = _stretches(_spikes(power_kw, DAY_S // slot_s), start_ms, slot_s)
    return Quality(
        slots=len(power_kw),
        known=int(known.sum()),
        first_ms=start_ms,
        last_ms=start_ms + (len(power_kw) - 1) * slot_s * 1000,
        mean_kw=float(values.mean()),
        peak_kw=float(values.max()),
        negative=int((values < 0).sum()),
        gap_count=len(gaps),
        longest_gap_slots=max((gap.slots for gap in gaps), default=0),
        frozen_count=len(frozen),
        spike_count=len(spikes),
        gaps=_longest(gaps),
        frozen=_longest(frozen),
        spikes=_longest(spikes),
    )


def _spikes(power_kw: Floats, per_day: int) -> NDArray[np.bool_]:
    """Slots that stand out from both neighbours and from the same time a day before, all in the same direction."""
    result = np.zeros(len(power_kw), dtype=np.bool_)
    if len(power_kw) <= per_day + 1:
        return result
    inner = slice(per_day, len(power_kw) - 1)
    value = power_kw[inner]
    others = np.stack([power_kw[per_day - 1 : -2], power_kw[per_day + 1 :], power_kw[: -per_day - 1]])
    above, below = value - others.max(axis=0), others.min(axis=0) - value
    jump = np.maximum(above, below)
    steps = np.abs(np.diff(power_kw))
    typical = float(np.nanmedian(steps)) if np.isfinite(steps).any() else 0.0
    limit = max(_SPIKE_SIGMAS * typical, _SPIKE_SHARE * float(np.nanmedian(np.abs(power_kw))))
    result[inner] = jump > limit  # a comparison with NaN is False: slots beside a gap are not judged
    return result


def _stretches(marks: NDArray[np.bool_], start_ms: int, slot_s: int) -> list[Stretch]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(np.int8), [0]])))
    return [
        Stretch(start_ms + int(low) * slot_s * 1000, int(high - low))
        for low, high in zip(edges[::2], edges[1::2], strict=True)
    ]


def _longest(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    return tuple(sorted(stretches, key=lambda stretch: (-stretch.slots, stretch.start_ms))[:_LISTED])
