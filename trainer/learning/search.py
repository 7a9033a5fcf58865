"""Search: which options suit one plant. Optuna behind one module.

Decides what a trial is, what it is judged by and when it is given up. A trial is a whole training run but for its
folder: a teacher, its student, and the student's pinball loss on the held-out weeks. Choosing by these weeks flatters
what is chosen, so the choice and the default are judged again by weeks that no trial has learnt from or been chosen by.
TensorFlow's seeds are global: one search at a time in a process.
"""

from __future__ import annotations

import enum
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.featurespec import Scaling
from trainer.dataset.snapshot import Snapshot
from trainer.learning import ensemble, lessons, search_space, training
from trainer.learning import teacher as teachers
from trainer.learning.options import Options, Progress
from trainer.learning.search_weeks import JUDGED, UNSEEN, Weeks

try:
    import optuna
except ImportError as exc:
    raise ConfigError("needs Optuna", where="edgewatt-trainer search", todo="pip install 'optuna>=4,<5'") from exc

_RANDOM_TRIALS = 8  # before the sampler goes by what it has seen
_UNPRUNED_TRIALS = 4
_KEPT_PERCENT = 75.0  # of the trials so far; the first look is too rough to give up more
_LOOK = 4  # the first look takes one part in so many of a network's steps


class State(enum.StrEnum):
    """How a trial ended."""

    DONE = "done"
    PRUNED = "pruned"  # given up: worse than most at the same point
    FAILED = "failed"  # diverged
    STOPPED = "stopped"  # the time was up, or Ctrl-C


@dataclass(frozen=True)
class Trial:
    """One set of options, tried.

    Attributes:
        number: from 1, which is the default.
        state: how it ended.
        values: of the options that are searched; those of `teacher` are written `teacher.dropout`.
        pinball_kw: of its student on the held-out weeks; None where it did not come to its end.
    """

    number: int
    state: State
    values: dict[str, Any]
    pinball_kw: float | None


@dataclass(frozen=True)
class Found:
    """What a search chose, and how it does.

    Attributes:
        options: the chosen ones.
        chosen: number of their trial.
        trials: all, in order.
        judged_kw: pinball loss of `naive`, `default` and `chosen` on the weeks that it was chosen by; of `default`
            None where it diverged.
        unseen_kw: the same on weeks that no trial has seen.
    """

    options: Options
    chosen: int
    trials: tuple[Trial, ...]
    judged_kw: dict[str, float | None]
    unseen_kw: dict[str, float | None]

    @property
    def holds(self) -> bool:
        """Whether on weeks that no trial has seen the choice is no worse than the default."""
        default, chosen = self.unseen_kw["default"], self.unseen_kw["chosen"]
        return default is None or chosen is None or chosen <= default

    def counts(self) -> dict[str, int]:
        """How many trials ended how."""
        return dict(Counter(str(one.state) for one in self.trials))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "options": self.options.to_json(), "trials": [asdict(one) for one in self.trials]}


def search(
    snapshot: Snapshot,
    options: Options,
    *,
    trials: int,
    minutes: float | None = None,
    progress: Progress = training.no_progress,
    told: Callable[[Trial], None] = lambda _trial: None,
) -> Found:
    """Try options on one plant and choose those whose student does best on the held-out weeks.

    The first trial is the default and always comes to its end, so that nothing worse is chosen. All trials have its
    seed: they differ by their options alone. Where `trials` end the search, the same seed on the same machine gives
    the same choice. Ctrl-C after the first trial ends the search with the best so far.

    Args:
        snapshot: the data.
        options: the default, from which the others differ; its seed is that of the search, too.
        trials: the most that are tried, whatever becomes of them.
        minutes: after which the trial in hand is stopped.
        progress: told after each gradient step, a trial a stage.
        told: called after each trial.

    Raises:
        ConfigError: when `trials` or `minutes` is no positive number, or there is too little or unusable data.
        UnavailableError: when all trials failed, or no day can be judged.
    """
    if trials < 1:
        raise ConfigError(f"{trials} is not a positive number", where="--trials")
    if minutes is not None and not 0 < minutes < math.inf:
        raise ConfigError(f"{minutes} is not a positive number", where="--minutes")
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    weeks = Weeks(snapshot, options)
    study = _study(options)
    results: list[Trial] = []
    default: _Made | None = None
    best: _Made | None = None
    for number in range(1, trials + 1):
        if number > 1 and time.monotonic() >= deadline:
            break
        asked = study.ask()
        drawn = _suggest(asked, options)
        run = _Run(number, search_space.with_values(options, drawn), weeks, progress)
        try:
            state, made = run.attempt(asked, math.inf if number == 1 else deadline)
        except KeyboardInterrupt:  # whoever stops it after hours wants the best so far
            if best is None:
                raise
            results.append(Trial(number, State.STOPPED, drawn, None))
            told(results[-1])
            break
        _tell(study, asked, state, made)
        results.append(Trial(number, state, drawn, None if made is None else made.loss_kw))
        told(results[-1])
        default = made if number == 1 else default
        if made is not None and (best is None or made.loss_kw < best.loss_kw):
            best = made
    if best is None:
        raise UnavailableError(
            f"training diverged in all of {len(results)} trials",
            where=f"plant {snapshot.plant}",
            todo="Search again with another --seed or more --trials",
        )
    judged, unseen = (_losses(weeks, which, default, best) for which in (JUDGED, UNSEEN))
    return Found(best.options, best.number, tuple(results), judged, unseen)


@dataclass(frozen=True, eq=False)
class _Made:
    """What a trial made: a student, and its loss on the weeks that are chosen by."""

    number: int
    options: Options
    student: Any
    loss_kw: float


class _OutOfTimeError(Exception):
    """Ends a trial from within."""


class _Run:
    """One trial: from what is cheap to what is dear, given up where most trials did better at the same point."""

    def __init__(self, number: int, options: Options, weeks: Weeks, progress: Progress) -> None:
        updates = options.updates_for(weeks.days)
        self._number, self._options, self._weeks, self._progress = number, options, weeks, progress
        self._look = replace(options, teachers=1, teacher_updates=max(1, updates // _LOOK))
        self._done, self._deadline = 0, math.inf
        self._total = self._look.updates_for(weeks.days) + options.teachers * updates + options.student_updates

    def attempt(self, asked: optuna.Trial, deadline: float) -> tuple[State, _Made | None]:
        """Run it; return how it ended, and what it made where it came to its end."""
        self._deadline = deadline
        try:
            return State.DONE, self._run(asked)
        except optuna.TrialPruned:
            return State.PRUNED, None
        except UnavailableError:
            return State.FAILED, None
        except _OutOfTimeError:
            return State.STOPPED, None

    def _run(self, asked: optuna.Trial) -> _Made:
        options, weeks = self._options, self._weeks
        data = weeks.data(options.scaling)
        spec, learnt, judged = data.spec, data.learnt, data.weeks[JUDGED]
        made = lessons.made_windows(spec, weeks.snapshot, weeks.part, learnt, options)
        look = ensemble.fit_networks(spec, learnt, made, (), None, self._look, self._step)
        _go_on(asked, 0, teachers.loss_kw(spec, look, judged))
        teacher = teachers.fit(spec, learnt, judged, options, self._step, made=made)
        _go_on(asked, 1, teachers.loss_kw(spec, teacher, judged))
        taught = lessons.prepare(spec, teacher, learnt, options, self._step, made=made)
        student = training.learn(spec, taught, options, self._step)
        return _Made(self._number, options, student, _finite(training.score(spec, student, judged)))

    def _step(self, stage: str, _done: int, _total: int) -> None:
        """Progress in gradient steps; what else there is takes little time."""
        if time.monotonic() >= self._deadline:
            raise _OutOfTimeError
        if stage in ("networks", "student"):
            self._done += 1
            self._progress(f"trial {self._number}", self._done, self._total)


def _study(options: Options) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=options.seed, n_startup_trials=_RANDOM_TRIALS),
        pruner=optuna.pruners.PercentilePruner(_KEPT_PERCENT, n_startup_trials=_UNPRUNED_TRIALS),
    )
    study.enqueue_trial(search_space.values(options))
    return study


def _suggest(asked: optuna.Trial, default: Options) -> dict[str, Any]:
    """Return a value of each option that is searched."""
    scaling = search_space.SCALING
    drawn: dict[str, Any] = {scaling: asked.suggest_categorical(scaling, [str(one) for one in Scaling])}
    for one in search_space.ranges(default):
        if isinstance(one.low, int) and isinstance(one.high, int):
            drawn[one.name] = asked.suggest_int(one.name, one.low, one.high, log=one.by_powers)
        else:
            drawn[one.name] = asked.suggest_float(one.name, one.low, one.high, log=one.by_powers)
    return drawn


def _go_on(asked: optuna.Trial, step: int, loss_kw: float) -> None:
    asked.report(_finite(loss_kw), step)
    if asked.should_prune():
        raise optuna.TrialPruned


def _finite(loss_kw: float) -> float:
    if not math.isfinite(loss_kw):
        raise UnavailableError("training diverged")
    return loss_kw


def _tell(study: optuna.Study, asked: optuna.Trial, state: State, made: _Made | None) -> None:
    if made is not None:
        study.tell(asked, made.loss_kw)
    elif state is State.PRUNED:
        study.tell(asked, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(asked, state=optuna.trial.TrialState.FAIL)


def _losses(weeks: Weeks, which: str, default: _Made | None, chosen: _Made) -> dict[str, float | None]:
    def loss_kw(made: _Made) -> float:
        data = weeks.data(made.options.scaling)
        return training.score(data.spec, made.student, data.weeks[which])

    return {
        "naive": weeks.naive_kw(which),
        "default": None if default is None else loss_kw(default),
        "chosen": loss_kw(chosen),
    }
