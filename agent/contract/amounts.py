"""Amounts as people read them: to a few digits, and never with a power of ten however large they are."""

from __future__ import annotations


def amount(value: float, digits: int = 3) -> str:
    """Return a value to so many digits, such as 0.123, 45.6 and 1234; digits before the point are all given."""
    return f"{value:.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def in_kw(value: float, digits: int = 4) -> str:
    """Return a power with its unit."""
    return f"{amount(value, digits)} kW"
