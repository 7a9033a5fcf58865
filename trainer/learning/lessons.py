"""What there is to learn from beside the plant's own windows: years made of its days, and other plants.

Made years have a load that the plant might have had, and a truth of that kind. Teachers learn from both, and students;
these learn above all what the teacher says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Inputs, Singles
from agent.contract.featurespec import FeatureSpec
from trainer.dataset.augment import DayBootstrap, Jitter
from trainer.dataset.snapshot import Snapshot
from trainer.learning import pool as pools
from trainer.learning import windows
from trainer.learning.holdout import Split
from trainer.learning.options import Options, Progress
from trainer.learning.pool import PoolPlant
from trainer.learning.teacher import Teacher
from trainer.learning.windows import Windows

_MADE = Jitter(holidays=0.04)
_OTHERS_WINDOWS = 1000  # of other plants, labelled for the student


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a student learns from: N windows.

    Attributes:
        inputs: of the model.
        target: [N, H + D] standardised truth, NaN where only the teacher says what follows.
        taught: [N, H + D, 3] the teacher's standardised quantiles; None where there is no teacher.
        odds: [N] how often each is drawn.
    """

    inputs: Inputs
    target: Singles
    taught: Singles | None
    odds: Floats


def made_windows(
    spec: FeatureSpec, snapshot: Snapshot, part: Split, learnt: Windows, options: Options
) -> list[Windows]:
    """Return windows of made years at places of the learnt ones, half as many again as these in all.

    The days that are held out are no source: they are unknown to whoever makes years, and targets there are NaN. None
    where the plant has too few whole days to make others of.
    """
    if not options.made_years:
        return []
    known = snapshot.power_kw.copy()
    known[: part.end][part.mark()] = np.nan
    try:
        bootstrap = DayBootstrap(replace(snapshot, power_kw=known))
    except ConfigError:
        return []
    random = np.random.default_rng(options.seed)
    slots = max(1, windows.HOUR_S // spec.slot_s)
    found = []
    for number in range(options.made_years):
        year = bootstrap.year(random, _MADE)
        # Later within the hour each time: devices forecast at any slot, the plant's own windows begin at full hours.
        some = random.permutation(len(learnt))[: -(-len(learnt) * 3 // (2 * options.made_years))]
        origins = np.minimum(learnt.origins[np.sort(some)] + number % slots, part.end - spec.horizon)
        if 0 < number == options.made_years - 1:
            year = replace(year, covariates={})  # what is known ahead may be missing on the day
        found.append(windows.make(replace(spec, holidays=year.holidays), year, origins))
    return found


def prepare(
    spec: FeatureSpec,
    teacher: Teacher,
    learnt: Windows,
    options: Options,
    progress: Progress,
    *,
    made: Sequence[Windows] = (),
    others: Sequence[PoolPlant] = (),
) -> Lessons:
    """Return the teacher's quantiles, and truth beside them, of the plant's windows and of those of its made years.

    Of other plants, where it has little of its own, only the teacher says what follows.
    """
    beside = [pools.thinned(one.learnt, _OTHERS_WINDOWS // len(others), options.seed) for one in others]
    parts = [learnt, *made, *(_unknown(one) for one in beside)]
    taught = []
    for number, one in enumerate(parts, 1):
        taught.append(teacher.predict(one.inputs))
        progress("labels", number, len(parts))
    odds = [windows.odds(spec, one) for one in parts]
    if len(parts) > 1:
        odds = [odds[0] * (1 - options.made_share), *(one * options.made_share / (len(odds) - 1) for one in odds[1:])]
    together = windows.join(parts)
    return Lessons(together.inputs, together.target, np.concatenate(taught), np.concatenate(odds))


def _unknown(of: Windows) -> Windows:
    """The same windows without truth: only the teacher says what follows."""
    return replace(of, target=np.full_like(of.target, np.nan))
