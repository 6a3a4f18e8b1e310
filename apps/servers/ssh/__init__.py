"""The one door to SSH: who is spoken with, how it can fail, and conversations for workers.

Only pinned host keys are spoken to, with the server's own key and nothing else: no known_hosts file, no agent, no
configuration file, no password. The library loads only when somebody connects: web processes never pay for it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from apps.servers.gate.wire import Greeting

if TYPE_CHECKING:
    from apps.servers.models import Server
    from apps.servers.ssh.rounds import Rounds

USER = "mainstay"
# Trying again cannot mend these: a person must act on the server or in Mainstay.
PERMANENT = frozenset({
    "host_key", "auth", "gate_missing", "gate_old", "python", "level", "verb", "server", "signature", "sudo", "lacks",
    "address", "no_key",
})  # fmt: skip


class Trouble(Exception):  # noqa: N818 it is an answer about a server, not a fault of ours
    """A conversation did not come about: a code, one sentence for people, and whether trying again can help."""

    def __init__(self, code: str, said: str, *, offered: "tuple[HostKey, ...]" = ()) -> None:
        """Keep them; `offered` are the host keys that were shown instead of the pinned ones."""
        super().__init__(said)
        self.code, self.said, self.offered = code, said, offered

    @property
    def permanent(self) -> bool:
        """Return whether only a person can mend it."""
        return self.code in PERMANENT


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host key: its type, its bytes in base64, its SHA-256 fingerprint."""

    type: str
    blob: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Target:
    """All that a conversation needs to know of a server, free of the database."""

    id: str
    name: str
    address: str
    port: int
    private_key: str = field(repr=False)
    host_keys: tuple[tuple[str, str], ...]  # pinned: type, base64

    @property
    def where(self) -> str:
        """Return the address and the port, for sentences."""
        return f"{self.address} port {self.port}"


@dataclass(frozen=True, slots=True)
class Offered:
    """What sshd said of keys that were offered: whether it would take one, and for how many it answered."""

    accepted: bool
    answered: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gate answered: its data, the digest of its state afterwards, and the greeting that it answered under."""

    data: dict[str, Any]
    state: str
    greeted: Greeting
    skew: float  # seconds that the server's clock is ahead of ours


def target_of(server: "Server") -> Target:
    """Read what a conversation needs; one query for the pinned keys. Raises Trouble without a key or a pinned one."""
    if not server.private_key:
        raise Trouble("no_key", f"{server.name} was removed: Mainstay has no key for it any more.")
    pinned = tuple(server.host_keys.pinned().values_list("type", "blob"))
    if not pinned:
        raise Trouble("host_key", f"Nobody has confirmed the host key of {server.name} yet, so nothing was sent to it.")
    return Target(str(server.pk), server.name, server.address, server.port, server.private_key, pinned)


def converse(server: "Server", verb: str, args: Mapping[str, Any]) -> "Rounds":
    """Begin a verb of several rounds over a fresh connection, from a worker; close what it returns. Raises Trouble."""
    from apps.servers.ssh.rounds import Rounds  # noqa: PLC0415 only who connects pays

    return Rounds(target_of(server), verb, args)


def scan(address: str, port: int) -> tuple[HostKey, ...]:
    """Return the host keys that a server shows, one of each kind, without signing in; best first. Raises Trouble.

    One connection for each kind (three at most), as ssh-keyscan does: a server shows one key in a conversation.
    """
    from apps.servers.ssh import line  # noqa: PLC0415 half a second and 15 MB: only who connects pays

    return asyncio.run(line.scan(address, port))


def would_accept(server: "Server", user: str, keys: Sequence[tuple[str, str]]) -> Offered:
    """Return whether sshd would let `user` in with one of some public keys (type, base64). Raises Trouble.

    A real attempt in one connection: sshd answers for the account, the key files, AllowUsers, expiry and revocation
    alike, as seen from this machine. Nothing is signed. One connection, because sshd (since 9.8, PerSourcePenalties)
    counts those that end without a login, and keeps an address out for a while that makes three of them at once.
    """
    from apps.servers.ssh import offer  # noqa: PLC0415 half a second and 15 MB: only who connects pays

    return asyncio.run(offer.offered(target_of(server), user, keys))


class Held:
    """One connection to a gate that is kept for several questions of one worker; to be closed by who made it."""

    def __init__(self, server: "Server") -> None:
        """Nothing is sent yet: the first question connects."""
        from apps.servers.ssh.line import Line  # noqa: PLC0415 half a second and 15 MB: only who connects pays

        self._line, self._runner = Line(target_of(server)), asyncio.Runner()

    def ask(self, verb: str, args: Mapping[str, Any] | None = None, *, state: str | None = None) -> Answer:
        """Ask one thing; `state` is the digest that a change expects. Raises Trouble."""
        return self._runner.run(self._line.ask(verb, args or {}, state=state))

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(self, *_why: object) -> None:
        """Hang up."""
        try:
            self._runner.run(self._line.close())
        finally:
            self._runner.close()
