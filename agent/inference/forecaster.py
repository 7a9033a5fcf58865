"""A model at work: a bundle, the runtime that executes it, and the way from slot history to a forecast in kW.

Decides whether history suffices and whether a model is fit for this device; which model is used when is the ladder's
decision. Not for concurrent use (see `runtime`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from agent.contract import features
from agent.contract.bundle import Bundle, Manifest
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.features import Floats
from agent.contract.featurespec import FeatureSpec
from agent.contract.rows import Forecast, ForecastSource
from agent.inference import calibration
from agent.inference.runtime import Runtime, load_runtime

MAX_REPAIRED_SHARE = 0.2  # of the last 7 days: beyond it `recent` is more invention than measurement
_MAX_MISSING_SHARE = 0.5  # of the whole history used: lags and level would come from copies of copies
# Trailing scaling cannot clip more (Chebyshev: at most 1/16 of 28 days beyond 4 sigma): this finds plants that left
# the range on which a globally scaled model was trained.
_MAX_CLIPPED_SHARE = 0.25
_LATENCY_RUNS = 9
_MINUTE_MS = 60_000


class Model:
    """A loaded bundle.

    Attributes:
        manifest: what the bundle says of itself.
        label: `name@version`.
        runtime_name: library that executes it.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Join a bundle and a runtime that holds its model.

        Raises:
            RejectedError: when the model's tensors do not fit the bundle's feature spec, or the calibration that it
                brings is malformed.
        """
        self.manifest: Manifest = bundle.manifest
        self.label = f"{bundle.manifest.name}@{bundle.manifest.version}"
        self.runtime_name = runtime.name
        self._golden = bundle.golden
        self._runtime = runtime
        self._clock = clock
        spec = bundle.manifest.feature_spec
        expected = ((1, spec.recent_size), (1, spec.horizon, len(spec.step_names)), (1, spec.output_size, 3))
        found = (runtime.recent_shape, runtime.steps_shape, runtime.raw_shape)
        if found != expected:
            raise RejectedError(
                f"has tensors {found} where its feature spec says {expected}",
                where=self.label,
                todo="Build the bundle again: model and feature spec are not of one training run",
            )
        calibration.states(self.manifest.calibration, spec.slot_s, f"{self.label}.calibration")

    @classmethod
    def load(
        cls, bundle: Bundle | bytes, *, threads: int = 1, load_runtime: Callable[..., Runtime] = load_runtime
    ) -> Model:
        """Read a bundle (`.ewb`) and load its model.

        Args:
            bundle: parsed, or the bytes of the file.
            threads: for the interpreter; one is fastest for models of this size.
            load_runtime: `litert.load`, `tflite.load`, or the default: whichever is installed.

        Raises:
            RejectedError: when the bundle is damaged, does not beat naive, or its model cannot be executed.
            UnavailableError: when no runtime is installed.
        """
        parsed = bundle if isinstance(bundle, Bundle) else Bundle.from_bytes(bundle)
        return cls(parsed, load_runtime(parsed.model, threads=threads))

    @property
    def spec(self) -> FeatureSpec:
        """Slot length, horizon and features of the model."""
        return self.manifest.feature_spec

    def forecast(
        self,
        start_ms: int,
        power_kw: ArrayLike,
        source: ForecastSource = ForecastSource.ACTIVE,
        note: str = "",
        *,
        covariates: Mapping[str, ArrayLike] | None = None,
    ) -> Forecast:
        """Forecast the `spec.horizon` slots that follow the history.

        Args:
            start_ms: start of the first slot of the history. A device's slots are aligned in UTC; those of a file need
                not be: hours begin at half past where a zone is half an hour off.
            power_kw: [T] mean power of consecutive slots of `spec.slot_s`; NaN where unknown.
            source: the rung of the ladder that asks.
            note: why it is a fallback.
            covariates: by name, values of the history's slots and of those ahead [T + horizon]; NaN, or an end before
                that, where unknown. A model takes those that it was trained with and bears their absence.

        Raises:
            UnavailableError: when history is too short, too full of gaps or far from the data of training, or the
                runtime fails.
            ConfigError: when `start_ms` is not a whole minute.
        """
        spec = self.spec
        if start_ms % _MINUTE_MS:
            raise ConfigError(f"history starts at {start_ms} ms, off the grid of whole minutes", where="forecast")
        series = np.asarray(power_kw, dtype=np.float64)
        origin_ms = start_ms + len(series) * spec.slot_s * 1000
        history, share = self._history(series)
        begin_ms = origin_ms - len(history) * spec.slot_s * 1000
        skipped = len(series) - len(history)
        ahead = {name: np.asarray(of, dtype=np.float64)[skipped:] for name, of in (covariates or {}).items()}
        inputs = features.compute(spec, begin_ms, history, np.array([len(history)]), ahead)
        clipped = float((np.abs(inputs.recent) >= features.CLIP_SIGMA).mean())
        if clipped > _MAX_CLIPPED_SHARE:
            raise UnavailableError(
                f"{clipped:.0%} of the last {spec.recent_days} days lie outside the range the model was trained on",
                where=self.label,
                todo="Check the meter's unit; train a model on newer data",
            )
        raw = self._runtime.run(inputs.recent, inputs.steps)
        quantiles = features.assemble(raw, inputs.center_kw, inputs.scale_kw)
        if not np.isfinite(quantiles).all():
            raise UnavailableError("the model gave values that are not finite", where=self.label)
        slots, peaks = features.split_peak(spec, quantiles)
        return Forecast(
            origin_ms=origin_ms,
            slot_s=spec.slot_s,
            quantiles=spec.quantiles,
            power_kw=slots[0],
            peak_kw=peaks[0],
            source=source,
            model=self.label,
            note=note,
            repaired_share=share,
        )

    def check_golden(self) -> float:
        """Run the bundle's golden inputs; return the greatest difference from its golden outputs.

        Raises:
            RejectedError: when the difference is above the bundle's tolerance: this device would forecast otherwise
                than the centre measured.
        """
        golden, worst = self._golden, 0.0
        for recent, steps, raw in zip(golden.recent, golden.steps, golden.raw, strict=True):
            got = self._runtime.run(recent[None], steps[None])[0]
            difference = float(np.max(np.abs(got.astype(np.float64) - raw)))
            # A comparison with NaN is false: written so that NaN fails.
            if not difference <= golden.tolerance:
                raise RejectedError(
                    f"its output differs by {difference:.4g} from the golden output, {golden.tolerance:.4g} is allowed",
                    where=self.label,
                    todo=f"Verify the bundle with {self.runtime_name} before publishing it",
                )
            worst = max(worst, difference)
        return worst

    def latency_ms(self) -> float:
        """Return the median time of one run of the network on this device (the first, cold run left out)."""
        recent, steps = self._golden.recent[:1], self._golden.steps[:1]
        self._runtime.run(recent, steps)
        times: list[float] = []
        for _ in range(_LATENCY_RUNS):
            begin = self._clock()
            self._runtime.run(recent, steps)
            times.append((self._clock() - begin) * 1000)
        return statistics.median(times)

    def check_latency(self) -> float:
        """Return `latency_ms()`.

        Raises:
            RejectedError: when it is above the limit that the bundle sets.
        """
        latency_ms = self.latency_ms()
        if latency_ms > self.manifest.max_latency_ms:
            raise RejectedError(
                f"one run takes {latency_ms:.1f} ms where its bundle allows {self.manifest.max_latency_ms:g} ms",
                where=self.label,
                todo="Assign a smaller model to this device",
            )
        return latency_ms

    def _history(self, series: Floats) -> tuple[Floats, float]:
        """Return the repaired history that features use, and the repaired share of its last 7 days."""
        spec = self.spec
        known = np.flatnonzero(np.isfinite(series))
        length = len(series) - int(known[0]) if len(known) else 0
        if length < spec.min_history:
            raise UnavailableError(
                f"there are {length / spec.per_day:.1f} days of history where the model needs "
                f"{spec.min_history // spec.per_day}",
                where="forecast",
                todo="Wait for more data",
            )
        series = series[-min(length, spec.max_history) :]
        missing = float(1 - np.isfinite(series).mean())
        recent_missing = float(1 - np.isfinite(series[-7 * spec.per_day :]).mean())
        if recent_missing > MAX_REPAIRED_SHARE:
            raise UnavailableError(
                f"{recent_missing:.0%} of the last 7 days are missing where a model bears {MAX_REPAIRED_SHARE:.0%}",
                where="forecast",
                todo="Check the meter and its connection",
            )
        if missing > _MAX_MISSING_SHARE:
            raise UnavailableError(
                f"{missing:.0%} of the last {len(series) // spec.per_day} days are missing where a model bears "
                f"{_MAX_MISSING_SHARE:.0%}",
                where="forecast",
                todo="Wait for more data",
            )
        return features.repair(series, spec.per_day)
