"""Why two bills differ: each line's difference as a part of quantity, one of price, and a rest; they add up exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from agent.contract.tariff.model import Rounding
from agent.planning.invoices.kinds import Kind
from agent.planning.invoices.matching import Pair

ONLY_THEIRS, ONLY_OURS, PRICE, FOLLOWS, REST = (
    "lines that only they have",
    "lines that only we have",
    "prices",
    "taxes and percentages of what differs above",
    "rounding, and what is not explained",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Their amount less ours, in parts that add up to it.

    Attributes:
        by_quantity: (their quantity - ours) x our price.
        by_price: (their price - ours) x their quantity.
        rest: rounding, and where quantities or prices are not stated the whole.
        kind: of the charge; None where we have no such line.
        follows: a percentage of other lines, which differs because they do.
    """

    pair: Pair
    by_quantity: Decimal
    by_price: Decimal
    rest: Decimal
    kind: Kind | None
    follows: bool

    @property
    def amount(self) -> Decimal:
        """Of them together."""
        return self.pair.difference


def differences(
    pairs: Iterable[Pair], kinds: Mapping[str, Kind], currency: str, rounding: Rounding
) -> list[Difference]:
    """Split the difference of each pair."""
    return [_split(pair, kinds.get(pair.charge), currency, rounding) for pair in pairs]


def causes(found: Iterable[Difference]) -> dict[str, Decimal]:
    """Return how much of the total difference each kind of cause explains, the greatest first; without those of 0."""
    sums: dict[str, Decimal] = {}
    for one in found:
        if one.pair.ours is None or one.pair.theirs is None:
            parts = {ONLY_THEIRS if one.pair.ours is None else ONLY_OURS: one.amount}
        else:
            quantity = FOLLOWS if one.follows else f"quantities of {one.kind}"
            parts = {quantity: one.by_quantity, PRICE: one.by_price, REST: one.rest}
        for cause, amount in parts.items():
            sums[cause] = sums.get(cause, Decimal(0)) + amount
    return dict(sorted(((cause, by) for cause, by in sums.items() if by), key=lambda pair: -abs(pair[1])))


def _split(pair: Pair, kind: Kind | None, currency: str, rounding: Rounding) -> Difference:
    theirs, ours = pair.theirs, pair.ours
    by_quantity = by_price = Decimal(0)
    follows = False
    if theirs is not None and ours is not None:
        follows = ours.unit == currency
        alike = theirs.unit == ours.unit or not theirs.unit or follows
        if alike and None not in (theirs.quantity, theirs.price, ours.quantity, ours.price):
            assert theirs.quantity is not None  # noqa: S101 - mypy does not see it
            assert theirs.price is not None  # noqa: S101 - likewise
            assert ours.quantity is not None  # noqa: S101 - likewise
            assert ours.price is not None  # noqa: S101 - likewise
            by_quantity = rounding((theirs.quantity - ours.quantity) * ours.price)
            by_price = rounding((theirs.price - ours.price) * theirs.quantity)
    rest = pair.difference - by_quantity - by_price
    return Difference(pair, by_quantity, by_price, rest, kind, follows)


def plain(value: Fraction, decimals: int = 6) -> str:
    """A number of at most so many decimals, without zeros at its end."""
    rounded = Decimal(round(value * 10**decimals)).scaleb(-decimals)
    return f"{rounded.normalize() + 0:f}"
