"""Durations and memory sizes as people write them, parsed once and strictly.

>>> parse_duration("1-02:03:04")
93784.0
>>> parse_memory("24GB"), parse_memory("24GiB")
(24000000000, 25769803776)
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

__all__ = ["format_duration", "format_memory", "parse_duration", "parse_memory"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = r"\d{1,20}(?:\.\d{1,20})?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_PART = re.compile(rf"({_NUMBER})\s*(ms|min|s|m|h|d|w)\s*", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,9})-)?(\d{1,9}):(\d{1,2})(?::(\d{1,2}))?", re.ASCII)
_DAYS_HOURS = re.compile(r"(\d{1,9})-(\d{1,2})", re.ASCII)

_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40, "pi": 2**50}
_FACTORS = _DECIMAL | _BINARY
_MEMORY = re.compile(rf"({_NUMBER}(?:e\d{{1,2}})?)\s*((?:[kmgtp]i?)?)b?", re.ASCII | re.IGNORECASE)


def parse_duration(text: str | float) -> float:
    """Return a duration in seconds.

    Accepts ``30s``, ``2h30m``, ``1.5h``, ``1d``, ``HH:MM:SS``, ``MM:SS`` (minutes and seconds),
    ``D-HH:MM:SS``, ``D-HH:MM``, ``D-HH`` and plain numbers (seconds).  Raises ValueError on all
    else, on zero and below.
    """
    value: float | None = None
    if isinstance(text, str):
        value = _duration(text.strip().lower())
    elif not isinstance(text, bool) and isinstance(text, int | float):
        value = float(text)
    if value is None or not math.isfinite(value) or value <= 0:
        raise ValueError(
            f"{text!r} is not a duration; write it like 90s, 2h30m, 01:30:00 or 1-02:03:04 (days-hours:minutes:seconds)"
        )
    return value


def _duration(text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    if clock := _CLOCK.fullmatch(text):
        return _clock(*clock.groups())
    if short := _DAYS_HOURS.fullmatch(text):
        return _clock(short[1], short[2], "0", None)
    total, end, seen = 0.0, 0, set()
    for part in _PART.finditer(text):
        unit = "m" if part[2] == "min" else part[2]
        if part.start() != end or unit in seen:
            return None
        seen.add(unit)
        total += float(part[1]) * _UNITS_S[unit]
        end = part.end()
    return total if end == len(text) and seen else None


def _clock(days: str | None, first: str, second: str, third: str | None) -> float | None:
    """Seconds of a clock's fields; the leading one may be large, the others not."""
    if third is None and days is None:
        hours, minutes, seconds = 0, int(first), int(second)
    else:
        hours, minutes, seconds = int(first), int(second), int(third or 0)
        if minutes >= 60:
            return None
    if seconds >= 60 or (days is not None and hours >= 24):
        return None
    return int(days or 0) * 86400.0 + hours * 3600.0 + minutes * 60.0 + seconds


def parse_memory(text: str | int) -> int:
    """Return a size in bytes.

    Accepts ``24GB`` (10**9), ``24GiB`` (2**30), ``512M``, ``1e9`` and plain numbers (bytes).
    Raises ValueError on all else, on zero and below.
    """
    match = _MEMORY.fullmatch(str(text).strip())
    value = round(Fraction(match[1]) * _FACTORS[match[2].lower()]) if match else 0
    if value <= 0:
        raise ValueError(f"{text!r} is not a memory size; write it like 24GB, 24GiB or 512M")
    return value


def format_memory(size: float) -> str:
    """Return a size in bytes as people read it: ``1.50 GB``."""
    if round(size) < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if round(size, 2) < 1000:
            return f"{size:.2f} {unit}"
    return f"{size / 1000:.2f} TB"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as people read it: ``1.2s``, ``4m05s``, ``2h03m``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"
