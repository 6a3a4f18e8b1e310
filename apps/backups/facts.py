"""What adapters return: plain facts about sources, dumps, archives and stores. Nothing here touches the world."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

RUNGS = ("ran", "is there", "bytes intact", "readable", "restored", "complete", "correct")


@dataclass(frozen=True, slots=True)
class Member:
    """One table or file: how many rows (for a file: bytes) it had, and an order-independent digest of its content."""

    name: str
    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the dump must equal when it is restored, taken in the dump's own snapshot."""

    engine: str  # "postgresql", "sqlite" or "directory"
    version: str  # of the source, e.g. "16.4"
    taken_at: datetime
    source_bytes: int  # size of the source as its engine reports it
    members: tuple[Member, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)  # the engine's own, JSON: sequences, extensions, roles …
    tools: Mapping[str, str] = field(default_factory=dict)  # program → version used for the dump

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only."""
        return {
            "engine": self.engine,
            "version": self.version,
            "taken_at": self.taken_at.isoformat(),
            "source_bytes": self.source_bytes,
            "members": [[member.name, member.count, member.digest] for member in self.members],
            "facts": dict(self.facts),
            "tools": dict(self.tools),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            engine=data["engine"],
            version=data["version"],
            taken_at=datetime.fromisoformat(data["taken_at"]),
            source_bytes=data["source_bytes"],
            members=tuple(Member(*entry) for entry in data["members"]),
            facts=data["facts"],
            tools=data["tools"],
        )


@dataclass(frozen=True, slots=True)
class Checkup:
    """What "Test connection" found: one sentence for people, figures, and warnings that do not stop a plan."""

    sentence: str
    version: str = ""
    size: int | None = None  # bytes
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: what was done, its figures, how long it took, and whether it held.

    `ok` None means that it could not be tested here: never green. `log` holds the few raw lines worth showing.
    """

    name: str  # one of RUNGS
    ok: bool | None
    said: str  # one sentence of evidence, or the cause and what to do
    seconds: float
    figures: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only."""
        return {
            "name": self.name,
            "ok": self.ok,
            "said": self.said,
            "seconds": round(self.seconds, 3),
            "figures": dict(self.figures),
            "log": list(self.log),
        }


@dataclass(frozen=True, slots=True)
class Stat:
    """One object as the store lists it."""

    key: str
    size: int
    modified: datetime
    version_id: str = ""
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What a finished upload left: bytes and digest of what was sent, confirmed against what the store holds."""

    key: str
    size: int
    sha256: str
    version_id: str = ""
    locked_until: datetime | None = None


class Trouble(Exception):  # noqa: N818 the domain's word
    """Something that a person must know: `sentence` is what happened and what to do; `code` names the kind.

    `permanent` false means that trying again later may help. `untestable` true means that nothing is known to be wrong,
    only that it cannot be tested here (a missing major version or extension): unproven, not failed.
    """

    def __init__(
        self,
        sentence: str,
        *,
        code: str = "failed",
        permanent: bool = True,
        untestable: bool = False,
        log: tuple[str, ...] = (),
    ) -> None:
        """Keep the sentence; `log` is raw lines for the page, already free of secrets."""
        super().__init__(sentence)
        self.sentence, self.code, self.permanent, self.untestable, self.log = sentence, code, permanent, untestable, log


class EngineTrouble(Trouble):
    """A source could not be dumped, read, restored or compared."""


class StoreTrouble(Trouble):
    """A store refused, lost or changed something."""


class LostLease(Exception):  # noqa: N818 nobody's fault, only an end
    """The run belongs to a successor now: stop at once, clean up what is yours, write nothing."""
