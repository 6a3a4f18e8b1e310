"""What a run lends to an adapter, for tests: a folder, a clock, progress that is remembered, and a ledger in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path


class Lent:
    """A Work without a row."""

    def __init__(self, folder: Path) -> None:
        """Take an existing folder."""
        self.folder = folder
        self.tools: dict[str, str] = {}
        self.told: list[tuple[str, int | None, int | None]] = []
        self.left: list[tuple[str, str]] = []

    def now(self) -> datetime:
        """Return the real moment."""
        return datetime.now(UTC)

    def progress(self, stage: str, done: int | None = None, total: int | None = None) -> None:
        """Remember."""
        self.told.append((stage, done, total))

    @contextmanager
    def leaves(self, kind: str, where: str, *, within: timedelta) -> Iterator[None]:
        """Keep what is left until it is gone."""
        self.left.append((kind, where))
        yield
        self.left.remove((kind, where))
