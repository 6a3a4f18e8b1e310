"""Reads single fields of an answer that nobody vouches for: the right type within its bounds, or None for unknown."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

LARGEST = 2.0**62  # no size, count or time of a server is larger


class MalformedError(ValueError):
    """An answer lacks what it cannot lack; nothing of it is used."""


def number(value: object, *, most: float = LARGEST) -> float | None:
    """Return a finite number from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= most else None


def whole(value: object, *, most: float = LARGEST) -> int | None:
    """Return a whole number from 0 to `most`."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def text(value: object, most: int = 200) -> str:
    """Return text, cut at `most` characters; empty is unknown. That it is printable was seen to on the wire."""
    return value[:most] if isinstance(value, str) else ""


def flag(value: object) -> bool | None:
    """Return True or False."""
    return value if isinstance(value, bool) else None


def part(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part that is an object; empty when it is none."""
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def rows(value: object, most: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list, `most` at most."""
    for row in value[:most] if isinstance(value, list) else ():
        if isinstance(row, dict):
            yield row


def texts(value: object, most: int, longest: int = 200) -> list[str]:
    """Return the texts of a list, `most` at most."""
    return [text(one, longest) for one in value[:most] if text(one)] if isinstance(value, list) else []
