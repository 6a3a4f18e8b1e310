"""OpenSSH's picture of a fingerprint: the walk over 17 × 9 fields that `ssh-keygen -lv` draws, as fields and as text.

Source: fingerprint_randomart in OpenSSH's sshkey.c; Loss, Limmer, von Gernler, "The drunken bishop".
"""

import base64
import hashlib
from dataclasses import dataclass

WIDE, HIGH = 17, 9
_LETTERS = " .o+=*BOX@%&#/^"  # visits 0 to 14; then S for the start and E for the end


@dataclass(frozen=True, slots=True)
class Picture:
    """How often each field was visited (column, row), where the walk began and where it ended."""

    visits: dict[tuple[int, int], int]
    start: tuple[int, int]
    end: tuple[int, int]


def picture(blob: str) -> Picture:
    """Return the walk of the SHA-256 of a key's blob (base64)."""
    x, y = WIDE // 2, HIGH // 2
    visits: dict[tuple[int, int], int] = {}
    for byte in hashlib.sha256(base64.b64decode(blob)).digest():
        for shift in (0, 2, 4, 6):
            step = byte >> shift
            x = min(max(x + (1 if step & 1 else -1), 0), WIDE - 1)
            y = min(max(y + (1 if step & 2 else -1), 0), HIGH - 1)
            visits[x, y] = visits.get((x, y), 0) + 1
    return Picture(visits, (WIDE // 2, HIGH // 2), (x, y))


def text(blob: str) -> list[str]:
    """Return the nine rows as ssh-keygen prints them, without the frame."""
    drawn = picture(blob)

    def letter(at: tuple[int, int]) -> str:
        if at == drawn.end:
            return "E"
        if at == drawn.start:
            return "S"
        return _LETTERS[min(drawn.visits.get(at, 0), len(_LETTERS) - 1)]

    return ["".join(letter((x, y)) for x in range(WIDE)) for y in range(HIGH)]
