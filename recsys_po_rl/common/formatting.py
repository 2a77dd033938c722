"""Formatting of numbers and intervals for people; values read from files may have any type."""

import math
from collections.abc import Sequence
from typing import Any, Optional, Protocol

UNKNOWN = "unknown"
UNBOUNDED = "[unbounded]"  # an interval over too few units


class WithInterval(Protocol):
    """Record with a mean and its 95% interval."""

    @property
    def mean(self) -> float:
        """The mean."""

    @property
    def interval95(self) -> Sequence[Optional[float]]:
        """The interval: low, high; None: infinite."""


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def as_number(text: Any) -> Optional[float]:
    """Return the finite number in a table cell, or None if the cell is not a finite number."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def plain(value: float, spec: str) -> str:
    """Return `format(value, spec)` without a minus sign on values that round to 0; the minus sign is ASCII."""
    text = format(value, spec)
    if text.startswith("-") and not any(digit in text for digit in "123456789"):
        return f"{'+' if spec.startswith('+') else ''}{text[1:]}"
    return text


def fixed(value: Any, digits: int = 2, sign: bool = False) -> str:
    """Return a number with a fixed number of digits after the decimal point."""
    if not is_number(value):
        return UNKNOWN
    return plain(value, f"{'+' if sign else ''},.{digits}f").replace("-", "\u2212")


def interval(bounds: Any, digits: int = 2, sign: bool = False) -> str:
    """Return an interval as "[low, high]"."""
    if not is_interval(bounds):
        return UNBOUNDED
    return f"[{fixed(bounds[0], digits, sign)}, {fixed(bounds[1], digits, sign)}]"


def is_interval(bounds: Any) -> bool:
    """Return whether a value is a pair of finite numbers."""
    return isinstance(bounds, Sequence) and len(bounds) == 2 and all(is_number(bound) for bound in bounds)


def estimate(entry: WithInterval, digits: int = 2, sign: bool = False) -> str:
    """Return a mean with its interval."""
    return f"{fixed(entry.mean, digits, sign)} {interval(entry.interval95, digits, sign)}"


def percent(share: Any) -> str:
    """Return a share in whole percent."""
    return plain(share, ".0%").replace("-", "\u2212") if is_number(share) else UNKNOWN


def percent_interval(bounds: Any) -> str:
    """Return an interval of shares as "[low, high]"."""
    return f"[{percent(bounds[0])}, {percent(bounds[1])}]" if is_interval(bounds) else UNBOUNDED


def short(value: float) -> str:
    """Return a number as an axis label."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("-", "\u2212")
    return plain(value, ",.6g").replace("-", "\u2212")
