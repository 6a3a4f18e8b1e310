"""Row ids: UUIDv7 made in Python, so that a row can be encrypted and referred to before it is written."""

import os
import time
import uuid


def uuid7() -> uuid.UUID:
    """Return a time-ordered UUID, version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)
