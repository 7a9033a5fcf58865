"""An energy baseline (ISO 50006): fitted from a period, refused where the data cannot carry one, kept as JSON. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.jsonform import Fields
from agent.planning.performance.form import KINDS, Form
from agent.planning.performance.observations import LENGTHS, Observations, ranges
from agent.planning.performance.regression import Fit, Statistics, fit
from agent.planning.performance.search import CRITERIA
from agent.planning.performance.variables import TEMPERATURE, WORKING_DAY

LEAST = {"day": 28, "week": 12}  # observations
WANTED_R2, MOST_CV_RMSE, LEAST_T = 0.75, 0.25, 2.0  # what is commonly asked of a baseline
_FULL_YEAR_DAYS = 330
_COLLINEAR_R2 = 0.98
_ROUNDING = 1e-9
_SHARES = ("r2", "adjusted_r2", "cv_rmse", "nmbe", "bic")
_DATE = r"\d{4}-\d\d-\d\d"


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """A fit with all that tells what it rests on.

    Attributes:
        zone: in which its days are meant.
        by: `day` or `week`.
        first, last: its period.
        fit: form, coefficients, statistics.
        criterion: by which the form was chosen.
        robust: whether outliers lost weight.
        left_out: days of the period that are not in it, by reason.
        ranges: least and greatest daily value of each variable in it.
        data_sha256: of the observations.
        given: names of the variables that came from a file.
        variables_file: that file; empty for none.
    """

    zone: str
    by: str
    first: dt.date
    last: dt.date
    fit: Fit
    criterion: str
    robust: bool
    left_out: Mapping[str, int]
    ranges: Mapping[str, tuple[float, float]]
    data_sha256: str
    given: tuple[str, ...] = ()
    variables_file: str = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the variables that must be given for another period."""
        return tuple(name for name in self.given if name in self.fit.form.needs)

    def doubts(self) -> list[str]:
        """What speaks against relying on it, in words."""
        return list(self._doubts())

    def _doubts(self) -> Iterator[str]:
        statistics = self.fit.statistics
        if statistics.r2 is None:
            yield "the load did not vary in the period: the baseline is its mean"
        elif statistics.r2 < WANTED_R2:
            yield f"R2 is {statistics.r2:.2f}, below {WANTED_R2}: much of the load is not explained by these variables"
        if statistics.cv_rmse is None:
            yield "the mean load is nearly zero: shares of it have no meaning"
        elif statistics.cv_rmse > MOST_CV_RMSE:
            yield f"CV(RMSE) is {statistics.cv_rmse:.0%}, above {MOST_CV_RMSE:.0%}"
        errors = self.fit.standard_errors
        for name, value, error in zip(self.fit.form.terms[1:], self.fit.coefficients[1:], errors[1:], strict=True):
            if error > 0 and abs(value / error) < LEAST_T:
                yield f"{name} is hardly significant (t = {value / error:.1f})"
        days = (self.last - self.first).days + 1
        if days < _FULL_YEAR_DAYS:
            yield f"it covers {days} days: seasons that it has not seen are extrapolated"
        if missing := sum(self.left_out.values()):
            share = missing / days
            if share > 0.1:
                yield f"{missing} of {days} days are left out"

    def to_json(self) -> dict[str, Any]:
        """The form in the file."""
        made = self.fit
        return {
            "zone": self.zone,
            "by": self.by,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "kind": made.form.kind,
            "bases_c": list(made.form.bases_c),
            "linear": list(made.form.linear),
            "coefficients": made.coefficients.tolist(),
            "covariance": made.covariance.tolist(),
            "sigma_kwh": made.sigma_kwh,
            "count": made.count,
            "statistics": dataclasses.asdict(made.statistics),
            "criterion": self.criterion,
            "robust": self.robust,
            "left_out": dict(self.left_out),
            "ranges": {name: list(pair) for name, pair in self.ranges.items()},
            "data_sha256": self.data_sha256,
            "given": list(self.given),
            "variables_file": self.variables_file,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Baseline:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when a field is missing or out of range.
        """
        kind = fields.text("kind")
        if kind not in KINDS:
            fields.fail("kind", f"{kind!r} is not one of {', '.join(KINDS)}")
        by = fields.text("by")
        if by not in LENGTHS:
            fields.fail("by", f"{by!r} is not one of {', '.join(LENGTHS)}")
        linear = tuple(str(name) for name in fields.items("linear", 16))
        form = Form(kind, tuple(_numbers(fields, "bases_c", 2).tolist()), linear)
        coefficients = _numbers(fields, "coefficients", 32)
        covariance = np.array([_row(fields, row) for row in fields.items("covariance", 32)])
        if len(coefficients) != len(form.terms) or covariance.shape != (form.parameters, form.parameters):
            fields.fail("coefficients", "do not fit the form")
        told = fields.child("statistics")
        shares = {name: None if told.raw(name) is None else told.number(name) for name in _SHARES}
        statistics = Statistics(**shares, autocorrelation=told.number("autocorrelation", 0, 1))
        left_out, spans = fields.child("left_out"), fields.child("ranges")
        return cls(
            zone=fields.text("zone"),
            by=by,
            first=_date(fields, "first"),
            last=_date(fields, "last"),
            fit=Fit(
                form,
                coefficients,
                covariance,
                fields.number("sigma_kwh", 0),
                fields.integer("count", 1),
                statistics,
            ),
            criterion=fields.text("criterion"),
            robust=fields.flag("robust"),
            left_out={name: left_out.integer(name) for name in left_out.as_dict()},
            ranges={name: _pair(spans, name) for name in spans.as_dict()},
            data_sha256=fields.hexbytes("data_sha256", 32).hex(),
            given=tuple(str(name) for name in fields.items("given", 16)),
            variables_file=fields.text("variables_file", max_length=4096),
        )


def fit_baseline(
    observations: Observations,
    *,
    zone: str,
    first: dt.date,
    last: dt.date,
    criterion: str = CRITERIA[0],
    robust: bool = False,
    given: Sequence[str] = (),
    variables_file: str = "",
) -> Baseline:
    """Fit a baseline to the observations of a period.

    Raises:
        ConfigError: when there are too few, or a variable does not vary or moves with the others.
    """
    least = LEAST[observations.by]
    if len(observations) < least:
        reasons = ", ".join(f"{count} for {name}" for name, count in observations.left_out.items())
        raise ConfigError(
            f"{len(observations)} whole {observations.by}s where a baseline needs {least}",
            where=f"{first} to {last}",
            todo=f"Choose a longer period{f'; days left out: {reasons}' if reasons else ''}",
        )
    linear = tuple(_usable(observations))
    return Baseline(
        zone=zone,
        by=observations.by,
        first=first,
        last=last,
        fit=fit(observations, linear, criterion, robust=robust),
        criterion=criterion,
        robust=robust,
        left_out=observations.left_out,
        ranges=ranges(observations),
        data_sha256=observations.sha256(),
        given=tuple(given),
        variables_file=variables_file,
    )


def _usable(observations: Observations) -> Iterator[str]:
    """Yield the variables that may enter; the calendar's working day gives way, what people gave is refused."""
    given = [name for name in observations.variables if name != WORKING_DAY]
    for name in given:
        values = observations.total(name)
        if not _varies(values):
            raise ConfigError(
                f"{name!r} is the same all the time, so nothing can be learnt from it",
                where="variables",
                todo=f"Leave it out{'' if name == TEMPERATURE else ', or choose a period in which it varies'}",
            )
        others = [observations.total(other) for other in given if other != name]
        if _explained(values, others) > _COLLINEAR_R2:
            raise ConfigError(
                f"{name!r} moves together with {', '.join(repr(other) for other in given if other != name)}, "
                "so their effects cannot be told apart",
                where="variables",
                todo="Leave one of them out by --use",
            )
    working = observations.total(WORKING_DAY)
    rest = [observations.total(name) for name in given]
    if _varies(working) and _explained(working, rest) <= _COLLINEAR_R2:
        yield WORKING_DAY
    yield from (name for name in given if name != TEMPERATURE)


def _varies(values: Floats) -> bool:
    return bool(np.ptp(values) > _ROUNDING * np.abs(values).max())


def _explained(values: Floats, others: list[Floats]) -> float:
    """R2 of a variable on the others."""
    if not others:
        return 0.0
    centred = values - values.mean()
    scaled = np.stack([(other - other.mean()) / max(float(np.ptp(other)), _ROUNDING) for other in others], axis=1)
    left = centred - scaled @ np.linalg.lstsq(scaled, centred, rcond=None)[0]
    return 1 - float(left @ left) / float(centred @ centred)


def _numbers(fields: Fields, name: str, most: int) -> Floats:
    return _row(fields, fields.items(name, most))


def _row(fields: Fields, values: object) -> Floats:
    if not isinstance(values, list) or not all(type(value) in {int, float} for value in values):
        fields.fail("covariance", "or another list holds something that is no number")
    return np.array(values, dtype=np.float64)


def _pair(fields: Fields, name: str) -> tuple[float, float]:
    values = _numbers(fields, name, 2)
    if len(values) != 2:
        fields.fail(name, "is not a pair")
    return float(values[0]), float(values[1])


def _date(fields: Fields, name: str) -> dt.date:
    text = fields.text(name, pattern=_DATE)
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        fields.fail(name, f"{text!r} is no day")
