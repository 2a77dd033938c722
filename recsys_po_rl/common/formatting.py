"""Numbers and intervals as people read them; whatever came from a file may be anything."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

UNKNOWN = "unknown"
UNBOUNDED = "[unbounded]"  # an interval over too few units


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def as_number(text: Any) -> Optional[float]:
    """The finite number that a cell of a table holds, None if it holds none."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def plain(value: float, spec: str) -> str:
    """Return `format(value, spec)`, where what rounds to 0 is not negative; the minus is ASCII, for terminals."""
    text = format(value, spec)
    if text.startswith("-") and not any(digit in text for digit in "123456789"):
        return f"{'+' if spec.startswith('+') else ''}{text[1:]}"
    return text


def fixed(value: Any, digits: int = 2, sign: bool = False) -> str:
    """A number with so many digits after the point."""
    if not is_number(value):
        return UNKNOWN
    return plain(value, f"{'+' if sign else ''},.{digits}f").replace("-", "\u2212")


def interval(bounds: Any, digits: int = 2, sign: bool = False) -> str:
    """Both ends of an interval."""
    if not is_interval(bounds):
        return UNBOUNDED
    return f"[{fixed(bounds[0], digits, sign)}, {fixed(bounds[1], digits, sign)}]"


def is_interval(bounds: Any) -> bool:
    """Whether it is a pair of finite numbers."""
    return isinstance(bounds, Sequence) and len(bounds) == 2 and all(is_number(bound) for bound in bounds)


def estimate(entry: Mapping[str, Any], digits: int = 2, sign: bool = False) -> str:
    """A mean with its interval, of an entry with mean and interval95."""
    return f"{fixed(entry['mean'], digits, sign)} {interval(entry['interval95'], digits, sign)}"


def percent(share: Any) -> str:
    """A share in whole percent."""
    return plain(share, ".0%").replace("-", "\u2212") if is_number(share) else UNKNOWN


def percent_interval(bounds: Any) -> str:
    """Both ends of an interval of shares."""
    return f"[{percent(bounds[0])}, {percent(bounds[1])}]" if is_interval(bounds) else UNBOUNDED


def short(value: float) -> str:
    """A number of an axis."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("-", "\u2212")
    return plain(value, ",.6g").replace("-", "\u2212")
