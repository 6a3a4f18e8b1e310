"""What a run lends to an adapter; ledger.py has the real one, tests lend their own."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol


class Work(Protocol):
    """What a run lends to an adapter: a folder of its own, a clock, progress that keeps the lease, and the ledger."""

    folder: Path  # scratch folder of this run, mode 0700, removed afterwards whatever happens
    tools: dict[str, str]  # program → version, filled by the adapter as it uses them

    def now(self) -> datetime:
        """Return the present moment (aware, UTC)."""

    def progress(self, stage: str, done: int | None = None, total: int | None = None) -> None:
        """Show where the run is (bytes) and renew its lease; raises LostLease when the run is no longer ours."""

    def leaves(self, kind: str, where: str, *, within: timedelta) -> AbstractContextManager[None]:
        """Write a ledger row before something is left in the world, and strike it out when the block has removed it.

        `kind` names the sweeper that can remove it ("scratch-server", "folder", "upload", "socket"), `where` is all
        that the sweeper needs. A row past its deadline is swept by whoever comes next.
        """
