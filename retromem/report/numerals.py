"""How the report writes numbers: one place, so that sentence, table and axis agree."""

import math
from collections.abc import Callable, Iterable, Sequence

_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def count_text(number: float | int) -> str:
    """4000 -> `4,000`."""
    return f"{number:,.0f}"


def percent_text(share: float | int) -> str:
    """.9896 -> `98.9 %`: cut, not rounded, so that nothing below a threshold is printed as having reached it."""
    tenths = math.floor(share * 1000 + 1e-6)
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10:.1f} %"


def significant_text(number: float | int) -> str:
    """Three significant digits with thousands separators, never an exponent above .001: 2.64, 26.4, 17,400."""
    if number == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(number)))
    rounded = round(number, decimals)
    if abs(rounded) < 0.001:
        return f"{rounded:.1e}"
    # Rounding may carry into a new digit (.9996 -> 1.00): count the digits again.
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def bytes_text(num_bytes: float | int) -> str:
    """Decimal units, at most three digits: 512 -> `512 B`, 36400 -> `36.4 kB`, 52000 -> `52 kB`."""
    for size, unit in _UNITS:
        if num_bytes >= size * 0.9995:
            digits = significant_text(num_bytes / size)
            return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits} {unit}"
    return f"{num_bytes:.0f} B"


def seconds_text(seconds: float | int) -> str:
    """.0000871 -> `87.1 µs`, .0123 -> `12.3 ms`, 81.2 -> `81.2 s`."""
    if 0 < seconds < 0.0009995:
        return f"{significant_text(seconds * 1e6)} µs"
    if 0 < seconds < 0.9995:
        return f"{significant_text(seconds * 1000)} ms"
    return f"{significant_text(seconds)} s"


def list_text(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def range_text(numbers: Iterable[float], text: Callable[[float], str] = significant_text) -> str:
    """`2 to 3`, from the least to the most; one number where they read the same."""
    every = list(numbers)
    return " to ".join(dict.fromkeys([text(min(every)), text(max(every))]))
