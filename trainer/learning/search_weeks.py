"""Which weeks a search learns from, chooses by, and judges its choice by. Knows nothing of what is tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.contract.featurespec import QUANTILES, FeatureSpec, Scaling
from agent.inference.scoring import pinball
from trainer.dataset.snapshot import Snapshot
from trainer.learning import holdout, windows
from trainer.learning.holdout import Split
from trainer.learning.options import Options
from trainer.learning.windows import Windows

JUDGED, UNSEEN = "judged", "unseen"


@dataclass(frozen=True, eq=False)
class Data:
    """Windows of one scaling.

    Attributes:
        spec: of the windows.
        learnt: what trials learn from.
        weeks: windows of the weeks `JUDGED` and `UNSEEN`.
    """

    spec: FeatureSpec
    learnt: Windows
    weeks: Mapping[str, Windows]


class Weeks:
    """A plant's windows: to learn from, of the weeks that a training holds out (`JUDGED`), and `UNSEEN`.

    Invariants:
        No window to learn from has a target in either kind of weeks, and the two share no slot.
    """

    def __init__(self, snapshot: Snapshot, options: Options) -> None:
        """Split the plant's data.

        Raises:
            ConfigError: when there is too little or unusable data.
            UnavailableError: when no day of either kind of weeks can be judged.
        """
        self.snapshot = snapshot
        self._options = options
        judged = holdout.split(snapshot, options.horizon_hours, options.validation_days)
        self._parts = {JUDGED: judged, UNSEEN: holdout.split_again(snapshot, options.horizon_hours, judged)}
        both = sorted(stretch for part in self._parts.values() for stretch in part.held_out)
        self.part = Split(tuple(both), judged.end)
        self._data: dict[Scaling, Data] = {}
        first = self.data(options.scaling)  # what is wrong with the data shows before the first trial
        self.days = len(np.unique(first.learnt.origins // first.spec.per_day))

    def data(self, scaling: Scaling) -> Data:
        """Return the windows of a scaling; made once."""
        if scaling not in self._data:
            spec = windows.make_spec(self.snapshot, self._options.horizon_hours, scaling, self.part)
            learnt = windows.training_windows(spec, self.snapshot, self.part, seed=self._options.seed)
            weeks = {which: windows.held_out_windows(spec, self.snapshot, part) for which, part in self._parts.items()}
            self._data[scaling] = Data(spec, learnt, weeks)
        return self._data[scaling]

    def naive_kw(self, which: str) -> float:
        """Return the pinball loss of the device's own naive forecast, in kW."""
        data = self.data(self._options.scaling)
        of = data.weeks[which]
        return pinball(windows.naive_quantiles(data.spec, self.snapshot, of.origins), of.truth_kw, QUANTILES)
