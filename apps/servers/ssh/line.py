"""Connections to gates: opened with pinned host keys only, kept, and asked one thing at a time per channel.

The server is hostile until it has shown the pinned key, and its words are hostile after that: every wait and every
size has an end. The key exchange is Curve25519 (a post-quantum one costs the panel ten times the CPU, and nothing
that passes here is worth recording for decades).
"""

import asyncio
import base64
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import asyncssh

from apps.servers.gate import wire
from apps.servers.ssh import USER, Answer, HostKey, Target, Trouble
from apps.servers.ssh.reach import resolved, unreachable
from apps.servers.ssh.talk import Talk

SECONDS_CONNECT = 10.0
SECONDS_SIGN_IN = 20.0
SECONDS_GREETING = 20.0
SECONDS = {"sample": 20.0, "hello": 20.0, "facts": 90.0, "keys": 120.0, "access": 180.0}  # until the answer is whole
SECONDS_ELSE = 60.0
MOST = {"sample": 64 * 1024, "hello": 16 * 1024, "keys": 4 * 1024 * 1024}  # bytes of an answer
MOST_ELSE = 1024 * 1024
UNPRIVILEGED = frozenset({"hello", "sample", "facts"})  # verbs that the account itself may do; the rest needs root
COMMAND = "mainstay-gate"  # ignored where the forced command stands; no program of that name where it does not

KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256")
FAMILIES = {  # how each kind of host key may sign, best first
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
SCANNED = (  # one conversation for each
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)

os.environ.setdefault("LOGNAME", USER)  # the library asks who we are and fails where a container's user has no name


class Line:
    """One connection to one gate. Not for two askers at once: each question is a channel of its own, in turn."""

    def __init__(self, target: Target) -> None:
        """Remember who it is; nothing is sent yet."""
        self.target = target
        self._signer = wire.Signer(target.private_key)
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def is_open(self) -> bool:
        """Return whether a question can be asked without connecting first."""
        return self._connection is not None and not self._connection.is_closed()

    async def open(self) -> None:
        """Connect and sign in. Raises Trouble."""
        key = asyncssh.import_private_key(self.target.private_key)
        keys = [key]
        self._connection = await signed_in(self.target, USER, lambda: [keys.pop()] if keys else [])

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                await asyncio.wait_for(connection.wait_closed(), 2)
            connection.abort()

    def drop(self) -> None:
        """Hang up at once, without a word: the other side does not answer any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def ask(
        self, verb: str, args: Mapping[str, Any] | None = None, *, state: str | None = None, root: bool | None = None,
        seconds: float | None = None,
    ) -> Answer:  # fmt: skip
        """Ask one thing and return the answer. Raises Trouble; what did not behave is hung up on."""
        try:
            talk, greeted, heard = await self._request(verb, args or {}, state, root=root)
            try:
                most = MOST.get(verb, MOST_ELSE)
                data = await talk.rest(most, seconds or SECONDS.get(verb, SECONDS_ELSE))
            finally:
                talk.end()
            said = wire.answer(data, most=most)
        except wire.WireError as error:
            self.drop()
            raise Trouble(error.code, f"{self.target.name}: {error.said}") from error
        except Trouble as trouble:
            if trouble.code in {"timeout", "closed", "malformed"}:
                self.drop()
            raise
        if not said.ok:
            raise Trouble(said.code, f"{self.target.name}: {said.said}")
        return Answer(said.answer, said.state, greeted, greeted.clock - heard)

    @contextlib.asynccontextmanager
    async def stream(
        self, verb: str, args: Mapping[str, Any] | None = None, *, idle: float = 60.0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Ask a verb whose answer is a stream; yield its parts as they come, read no faster than they are taken.

        `idle` bounds the seconds without a byte; how the stream is framed, and whether it ended well, is the verb's.
        """
        talk, *_ = await self._request(verb, args or {}, None, root=None)
        try:
            yield talk.parts(idle)
        finally:
            talk.end()

    async def begin(
        self, verb: str, args: Mapping[str, Any]
    ) -> tuple[Talk, Callable[[Mapping[str, Any]], bytes]]:  # fmt: skip
        """Begin a verb of several rounds; return its channel, and what signs the next round's arguments."""
        talk, greeted, _ = await self._request(verb, args, None, root=None)
        return talk, lambda wish: self._signed(greeted, verb, wish, None)

    async def _request(
        self, verb: str, args: Mapping[str, Any], state: str | None, *, root: bool | None
    ) -> tuple[Talk, wire.Greeting, float]:
        """Open a channel, hear the greeting, become root where the verb needs it, and send the signed request.

        Return the channel, the last greeting and the moment at which it was heard (Unix seconds).
        """
        talk = await self._channel()
        try:
            greeted = await self._greeting(talk, "mainstay")
            heard = time.time()
            if root or (root is None and verb not in UNPRIVILEGED):
                self._check_verb(greeted, "root", verb)
                talk.write(self._signed(greeted, "root", {}, None))
                greeted = await self._greeting(talk, "root")
                heard = time.time()
            self._check_verb(greeted, verb, verb)
            talk.write(self._signed(greeted, verb, args, state))
        except BaseException:
            talk.end()
            raise
        return talk, greeted, heard

    async def _channel(self) -> Talk:
        if self._connection is None:
            await self.open()
        assert self._connection is not None  # noqa: S101 for the type checker: open() sets it or raises
        talk = Talk(self.target.name)
        try:
            async with asyncio.timeout(SECONDS_GREETING):
                await self._connection.create_session(lambda: talk, COMMAND, encoding=None, request_pty=False)
        except TimeoutError as error:
            self.drop()
            raise Trouble("timeout", f"{self.target.name} stopped answering.") from error
        except (asyncssh.Error, OSError) as error:
            self.drop()
            raise Trouble("closed", f"{self.target.name} closed the connection.") from error
        return talk

    async def _greeting(self, talk: Talk, half: str) -> wire.Greeting:
        line = await talk.line(wire.MOST_GREETING, SECONDS_GREETING)
        if line is None:
            raise self._silent(talk, half)
        try:
            greeted = wire.greeting(line)
        except wire.WireError as error:
            self._refused(line)
            todo = {
                "gate_missing": " Paste the script of this server's page on it.",
                "gate_old": " Paste the new script of this server's page on it.",
            }.get(error.code, "")
            raise Trouble(error.code, f"{self.target.name}: {error.said}{todo}") from error
        if greeted.half != half:
            raise Trouble("malformed", f"{self.target.name}: the gate's greeting is not the one that was asked for.")
        if greeted.server != self.target.id:
            said = f"The gate at {self.target.where} was installed for another server than {self.target.name}."
            raise Trouble("server", f"{said} Paste this server's own script there.")
        return greeted

    def _refused(self, line: bytes) -> None:
        """Raise the gate's own refusal where it comes instead of a greeting."""
        with contextlib.suppress(wire.WireError):
            said = wire.answer(line, most=wire.MOST_GREETING)
            if not said.ok:
                raise Trouble(said.code, f"{self.target.name}: {said.said}")

    def _silent(self, talk: Talk, half: str) -> Trouble:
        """Say why a channel ended before a greeting: what sshd, the shell or sudo make of what is missing."""
        name, heard = self.target.name, talk.errors
        if talk.status == 127 and "python3" in heard:
            return Trouble("python", f"{name} has no python3, which the gate needs. Install it (3.7 or newer).")
        if half == "root":
            missing = "sudo" in heard and "not found" in heard
            said = "has no sudo" if missing else "does not let the gate become root"
            return Trouble("sudo", f"{name} {said}. Paste the script of its level again, or choose the level observe.")
        if talk.status is None and not talk.whole:
            return Trouble("closed", f"{name} closed the connection before the gate said anything.")
        if talk.status in {126, 127} or not heard:
            return Trouble("gate_missing", f"{name} has no gate. Paste the script of this server's page on it.")
        return Trouble(
            "gate_missing", f"{name}: the gate does not start. It said: “{wire.printable(heard.strip())[:200]}”."
        )

    def _check_verb(self, greeted: wire.Greeting, needed: str, verb: str) -> None:
        if needed in greeted.verbs:
            return
        name = self.target.name
        if greeted.level == "observe" and needed == "root":
            raise Trouble("level", f"{name} is installed at the level observe, which does not allow {verb}.")
        if greeted.level == "operate" and verb in {"keys", "access", "commit", "rollback", "sessions"}:
            raise Trouble("level", f"{name} is installed at the level operate, which does not allow {verb}.")
        said = f"The gate on {name} (version {greeted.version}) does not know {verb}."
        raise Trouble("gate_old", f"{said} Paste the new script of this server's page on it.")

    def _signed(self, greeted: wire.Greeting, verb: str, args: Mapping[str, Any], state: str | None) -> bytes:
        return wire.request(
            signer=self._signer, greeted=greeted, server=self.target.id, verb=verb, args=args, state=state
        )


async def scan(address: str, port: int) -> tuple[HostKey, ...]:
    """Return the host keys that a server shows, best first. Raises Trouble when it shows none."""
    target = Target("", address, address, port, "", ())
    found: list[HostKey] = []
    last: Trouble | None = None
    for algorithms in SCANNED:
        try:
            await _connected(target, USER, list, algorithms)
        except Trouble as trouble:
            found += trouble.offered
            last = trouble
            if not trouble.offered and not found:
                break  # who does not answer is not asked twice more
    if not found:
        raise last or Trouble("protocol", f"{target.where} shows no host key that Mainstay can check.")
    return tuple(dict.fromkeys(found))


class _Client(asyncssh.SSHClient):
    """Takes no host key but the pinned ones, and remembers what was shown instead."""

    def __init__(self, keys: Callable[[], list[Any]]) -> None:
        self._keys = keys
        self.shown: list[HostKey] = []

    def validate_host_public_key(
        self,
        host: str,  # noqa: ARG002 the library's signature
        addr: str,  # noqa: ARG002
        port: int,  # noqa: ARG002
        key: asyncssh.SSHKey,
    ) -> bool:
        data = key.public_data
        self.shown.append(HostKey(key.get_algorithm(), base64.b64encode(data).decode("ascii"), wire.fingerprint(data)))
        return False

    def public_key_auth_requested(self) -> Any:
        return self._keys()


async def signed_in(target: Target, user: str, keys: Callable[[], list[Any]]) -> asyncssh.SSHClientConnection:
    """Connect to a target whose pinned kinds of keys are preferred; another kind is then shown, and refused.

    `keys` is asked again and again for what to sign in with next, until it returns nothing.
    """
    kinds = [kind for kind, _ in target.host_keys if kind in FAMILIES]
    order = [*sorted(set(kinds), key=list(FAMILIES).index), *FAMILIES]
    algorithms = tuple(dict.fromkeys(one for kind in order for one in FAMILIES[kind]))
    return await _connected(target, user, keys, algorithms)


async def _connected(
    target: Target, user: str, keys: Callable[[], list[Any]], algorithms: tuple[str, ...]
) -> asyncssh.SSHClientConnection:
    client = _Client(keys)
    sock = await _dialled(target)
    try:
        pinned = [asyncssh.import_public_key(f"{kind} {blob}") for kind, blob in target.host_keys]
        async with asyncio.timeout(SECONDS_SIGN_IN):
            return await asyncssh.connect(
                target.address, target.port, sock=sock, config=None, client_factory=lambda: client,
                known_hosts=(pinned, [], []), server_host_key_algs=algorithms, x509_trusted_certs=None,
                x509_trusted_cert_paths=[], username=user, client_keys=None, agent_path=None, gss_host=None,
                preferred_auth=("publickey",), password_auth=False, kbdint_auth=False, host_based_auth=False,
                disable_trivial_auth=True, kex_algs=KEX, encryption_algs=CIPHERS, mac_algs=MACS,
                compression_algs=None, keepalive_interval=0, client_version="Mainstay", login_timeout=0,
                window=256 * 1024,
            )  # fmt: skip
    except TimeoutError as error:
        sock.close()
        raise Trouble("timeout", f"{target.where} takes connections and then says nothing.") from error
    except (asyncssh.Error, OSError, ValueError) as error:
        sock.close()
        raise _why(error, target, user, client) from error
    except BaseException:
        sock.close()
        raise


def _why(error: Exception, target: Target, user: str, client: _Client) -> Trouble:
    """Say why no connection came about."""
    if client.shown:
        prints = ", ".join(key.fingerprint for key in client.shown)
        return Trouble(
            "host_key",
            f"{target.where} shows another host key than the pinned one ({prints}). It was reinstalled, or somebody "
            f"stands in between. Nothing was sent. Mainstay does not speak with {target.name} until an admin looked.",
            offered=tuple(client.shown),
        )
    too_many = isinstance(error, asyncssh.DisconnectError) and "Too many authentication failures" in error.reason
    if too_many or isinstance(error, asyncssh.PermissionDenied):
        return Trouble(
            "auth",
            f"{target.where} does not let {user} in with this server's key. Paste the script of {target.name}'s page "
            "on it, and check that the address it allows is the one Mainstay comes from.",
        )
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Trouble("protocol", f"{target.where} and Mainstay have no way to encrypt in common. Update its sshd.")
    if isinstance(error, asyncssh.ProtocolNotSupported | asyncssh.ProtocolError | asyncssh.MACError | ValueError):
        return Trouble("protocol", f"{target.where} does not speak SSH as expected. Check the port.")
    return Trouble(
        "closed",
        f"{target.where} hung up before signing in: its sshd is busy, starting, or refuses this address for a while.",
    )


async def _dialled(target: Target) -> socket.socket:
    """Return a socket to the first address of the name that answers; every address was judged before."""
    loop = asyncio.get_running_loop()
    addresses = await loop.run_in_executor(None, resolved, target.address, target.port)
    last: OSError = TimeoutError()
    for address in addresses:
        sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(SECONDS_CONNECT / len(addresses)):
                await loop.sock_connect(sock, (str(address), target.port))
        except OSError as error:  # TimeoutError is one
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise unreachable(target.where, last)
