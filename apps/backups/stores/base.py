"""The one small protocol that every kind of store follows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Protocol

from apps.backups.facts import Checkup, Stat, Stored

Progress = Callable[[int], None]
"""Called with the number of bytes sent or read so far; may raise to stop."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is: `config` may be shown, `secret` never.

    local: config {"path"}. s3: config {"endpoint", "region", "bucket", "prefix", "path_style", "lock_days",
    "public_confirmed"}, secret {"access_key", "secret_key"}.
    """

    kind: str
    config: Mapping[str, Any]
    secret: Mapping[str, str]

    def __repr__(self) -> str:
        """Show no secret in a log line."""
        return f"<Place {self.kind} {dict(self.config)}>"


class Store(Protocol):
    """One place for objects. Every method raises StoreTrouble with a sentence for people."""

    def check(self) -> Checkup:
        """Write, read back, list and delete a small object, and look at what would betray us (public, lock, clock)."""

    def put(self, key: str, stream: IO[bytes], *, progress: Progress, until: datetime | None = None) -> Stored:
        """Send the stream to its end as one object, which becomes visible only when whole; compare what was sent with
        what the store holds. `until` asks for a lock where the store has locks. Nothing is left when it raises."""

    def open(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """Stream an object from its first byte; a short read at the end raises."""

    def stat(self, key: str) -> Stat | None:
        """Return what the store knows of one object, or None when it is not there."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Return every object under a prefix, in the store's order."""

    def delete(self, key: str) -> None:
        """Delete one object; one that is not there is not an error, one that is locked is."""

    def abort_stale(self, prefix: str, *, before: datetime) -> int:
        """Remove the remains of uploads begun before a moment and never finished; returns how many."""
