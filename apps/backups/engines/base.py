"""The one small protocol that every kind of source follows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from apps.backups.facts import Checkup, Manifest, Rung
from apps.backups.work import Work

if TYPE_CHECKING:
    from apps.servers.models import Server

Opener = Callable[[], AbstractContextManager[IO[bytes]]]
"""Opens the archive from its first byte, decrypted and decompressed; may be called more than once."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to dump, or where to restore: `config` may be shown, `secret` never."""

    kind: str
    config: Mapping[str, Any]
    secret: Mapping[str, str]
    through: "Server | None" = None  # the server whose gate leads to it; None: this machine goes there itself

    def __repr__(self) -> str:
        """Show no secret in a log line."""
        return f"<Target {self.kind} {dict(self.config)}>"


class Dump(Protocol):
    """A dump under way."""

    stream: IO[bytes]  # read to its end; the engine's standard format, neither compressed nor encrypted
    suffix: str  # of the standard format: ".pgdump", ".sqlite3" or ".tar"

    def finish(self) -> Manifest:
        """Call after the stream's end: waits for every stage, classifies every line of stderr, takes the manifest.

        Raises EngineTrouble when any stage failed or said something that is not known to be harmless.
        """


class Engine(Protocol):
    """One kind of source. Every method raises EngineTrouble with a sentence for people."""

    kind: str

    def check(self, target: Target) -> Checkup:
        """Connect and look without changing anything ("Test connection")."""

    def dump(self, target: Target, work: Work) -> AbstractContextManager[Dump]:
        """Start a dump. Leaving the block ends every process and connection, whatever happened."""

    def read(self, opener: Opener, manifest: Manifest, work: Work) -> str:
        """Decode the whole archive to its end (rung "readable") and return one sentence of evidence."""

    def rehearse(self, opener: Opener, manifest: Manifest, work: Work) -> Iterator[Rung]:
        """Restore into a scratch place and compare: yields "restored", "complete", "correct" and stops at a failure."""

    def restore(self, opener: Opener, manifest: Manifest, target: Target, work: Work) -> str:
        """Restore into a new, empty target and return one sentence; refuses one that holds anything, or the source."""

    def identity(self, target: Target) -> str:
        """Return what tells this source from every other (system identifier and name, device and inode), or ""."""
