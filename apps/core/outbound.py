"""The one door to addresses that a person typed: every answer of the name is checked, and the checked one is dialled.

The rules: http and https only, no user in the address, no redirects, one look-up, all answers judged by our own table
(Python's `is_private` and `is_global` miss carrier-grade NAT, NAT64, 6to4 and several metadata services), a connection
to the very address that was judged with the name kept for TLS and Host, a deadline over everything, a bounded answer.
Private ranges only where an admin said that the target is inside their network; metadata services never.
"""

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECONDS = 10.0
MOST_BYTES = 1024 * 1024


class OutboundError(Exception):
    """The target was not reached; a sentence for people. `permanent` says that trying again cannot help."""

    def __init__(self, said: str, *, permanent: bool = False) -> None:
        """Keep the sentence and whether another try makes sense."""
        super().__init__(said)
        self.permanent = permanent


class Kind(StrEnum):
    """What an address is, as far as we may talk to it."""

    PUBLIC = "public"
    PRIVATE = "private"  # loopback and the private ranges: only with an admin's word
    NEVER = "never"  # metadata services, link-local, multicast, reserved, documentation


def _nets(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Cloud metadata services outside the ranges below: Azure's wire server, Alibaba, Oracle, AWS and GCP over IPv6.
_METADATA = _nets("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128")
_PRIVATE = _nets("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
# IANA special-purpose registries (RFC 6890 and its updates), without the private ranges above.
_NEVER = _nets(
    "0.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",  # Teredo, ORCHID, benchmarking
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
)
_UNICAST6 = ipaddress.ip_network("2000::/3")  # all that IANA gave out as public; whatever else is not listed is refused
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
# IPv6 with an IPv4 address in its last 32 bits: compatible, translated (RFC 2765), NAT64 (RFC 6052).
_EMBEDDED = _nets("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")


def judge(address: Address) -> Kind:
    """Return what an address is, unwrapping IPv4 hidden in IPv6; an embedded one must be public."""
    if any(address in net for net in _METADATA):
        return Kind.NEVER
    if any(address in net for net in _PRIVATE):
        return Kind.PRIVATE
    if isinstance(address, ipaddress.IPv4Address):
        return Kind.NEVER if any(address in net for net in _NEVER) else Kind.PUBLIC
    if address in _MAPPED:
        return judge(_last32(address))
    if any(address in net for net in _EMBEDDED):
        return Kind.PUBLIC if judge(_last32(address)) is Kind.PUBLIC else Kind.NEVER
    if address in _SIX_TO_FOUR:
        inner = ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
        return Kind.PUBLIC if judge(inner) is Kind.PUBLIC else Kind.NEVER
    if int(address) >> 32 & 0xFCFFFFFF == 0x5EFE and judge(_last32(address)) is not Kind.PUBLIC:
        return Kind.NEVER  # ISATAP (RFC 5214)
    if address not in _UNICAST6 or any(address in net for net in _NEVER):
        return Kind.NEVER
    return Kind.PUBLIC


def _last32(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def resolve(host: str, port: int, *, private: bool, seconds: float = SECONDS) -> tuple[Address, ...]:
    """Look a name up once and return its addresses, all judged. Raises OutboundError if any may not be reached."""
    try:
        name = host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError as error:
        raise OutboundError(f"“{host}” is not a host name.", permanent=True) from error
    if not name or len(name) > 253 or any(sign in name for sign in "%/\\@?# \t\r\n\x00"):
        raise OutboundError(f"“{host}” is not a host name.", permanent=True)
    addresses = _look_up(name, port, seconds)
    private = private and settings.MAINSTAY_ALLOW_PRIVATE
    for address in addresses:
        kind = judge(address)
        if kind is Kind.NEVER:
            raise _never(host, address)
        if kind is Kind.PRIVATE and not private:
            raise OutboundError(
                f"{host} leads to {address}, inside a private network. Nothing was sent. "
                "If it is yours, tick “inside my network”.",
                permanent=True,
            )
    return addresses


def refuse_never(host: str, port: int, *, seconds: float = SECONDS) -> None:
    """Raise OutboundError when a name leads to a metadata service or a reserved address.

    For clients that dial by themselves (a database's, a bucket's): private addresses are theirs to reach, and a name
    without an answer passes, because the client says that better.
    """
    try:
        addresses = _look_up(host, port, seconds)
    except OutboundError as error:
        if error.permanent:
            raise
        return
    for address in addresses:
        if judge(address) is Kind.NEVER:
            raise _never(host, address)


def _never(host: str, address: Address) -> OutboundError:
    return OutboundError(
        f"{host} leads to {address}, reserved or a cloud's metadata service. Mainstay never talks to it.",
        permanent=True,
    )


def _look_up(name: str, port: int, seconds: float) -> tuple[Address, ...]:
    """Ask the resolver on a thread of its own, because the C library's look-up has no time-out."""
    answers: queue.Queue[list[str] | OSError] = queue.Queue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            answers.put([str(entry[4][0]) for entry in found])
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=ask, daemon=True, name="look-up").start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty as error:
        raise OutboundError(f"The name {name} was not answered within {seconds:.0f} s.") from error
    if isinstance(answer, OSError):
        raise OutboundError(f"There is no address for the name {name}. Check its spelling.") from answer
    return tuple(dict.fromkeys(ipaddress.ip_address(text) for text in answer if "%" not in text)) or _nothing(name)


def _nothing(name: str) -> tuple[Address, ...]:
    raise OutboundError(f"The name {name} has only link-local addresses. Mainstay never talks to them.", permanent=True)


def tls_context(authority: str = "") -> ssl.SSLContext:
    """Return a context that verifies chain and name, by the system's authorities and one more in PEM if given."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority:
        try:
            context.load_verify_locations(cadata=authority)
        except ssl.SSLError as error:
            raise OutboundError("The certificate authority is not a PEM certificate.", permanent=True) from error
    return context


class Deadline:
    """Cuts a connection when its time is over, however slowly the other side drips."""

    def __init__(self, seconds: float) -> None:
        """Start counting now."""
        self.seconds = seconds
        self.over = False
        self._ends = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Return the seconds left, never less than a blink: a socket takes 0 for "do not block"."""
        return max(self._ends - time.monotonic(), 0.01)

    @contextmanager
    def cutting(self, sock: socket.socket) -> Iterator[None]:
        """Shut the connection down when the time is over. Works below TLS, on a copy of the file descriptor."""
        spare = sock.dup()

        def cut() -> None:
            self.over = True
            try:
                spare.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # already gone

        timer = threading.Timer(self.left, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            spare.close()


@contextmanager
def dial(
    host: str, port: int, *, private: bool, deadline: Deadline, context: ssl.SSLContext | None = None
) -> Iterator[socket.socket]:
    """Connect to a checked address of `host`; with `context` under TLS for that name. Cut at the deadline.

    Raises OutboundError for whatever keeps the connection from being made, and for any failure of the network inside.
    """
    where = f"{host}:{port}"
    addresses = resolve(host, port, private=private, seconds=deadline.left)
    try:
        raw = _first_open(addresses, port, deadline)
    except OSError as error:
        raise OutboundError(f"{where} cannot be reached: {_why(error)}.") from error
    with raw, deadline.cutting(raw):
        try:
            raw.settimeout(deadline.left)
            if context is None:
                yield raw
            else:
                with context.wrap_socket(raw, server_hostname=host) as wrapped:
                    yield wrapped
        except (OSError, http.client.HTTPException) as error:
            raise network_error(error, where=where, deadline=deadline) from error


def network_error(error: Exception, *, where: str, deadline: Deadline) -> OutboundError:
    """Return the sentence for a failure on an open connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return OutboundError(
            f"The certificate of {where} is not trusted: {error.verify_message.rstrip('.')}. Nothing was sent. "
            "Correct the name or the certificate there.",
            permanent=True,
        )
    if isinstance(error, ssl.SSLError):
        return OutboundError(f"{where} does not speak TLS as expected. Check the port and the kind of encryption.")
    if deadline.over or isinstance(error, TimeoutError):
        return OutboundError(f"{where} did not answer within {deadline.seconds:.0f} s.")
    if isinstance(error, OSError):
        return OutboundError(f"The connection to {where} broke: {_why(error)}.")
    return OutboundError(f"{where} did not answer as a web server does.")


def _first_open(addresses: tuple[Address, ...], port: int, deadline: Deadline) -> socket.socket:
    last: OSError = TimeoutError()
    for tried, address in enumerate(addresses):
        share = deadline.left / (len(addresses) - tried)
        try:
            return socket.create_connection((str(address), port), timeout=share)
        except OSError as error:
            last = error
    raise last


def _why(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or "the other side closed it").lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a web server answered; the body is cut at the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A web address, taken apart and found fit to be fetched."""

    secure: bool
    host: str
    port: int
    path: str  # with the query


def parse(url: str) -> Place:
    """Take a web address apart. Raises OutboundError for whatever is not plain http or https to a host."""
    bad = OutboundError("This is not a web address. It starts with https:// and a host name.", permanent=True)
    if any(sign <= " " or sign in "\\\x7f" for sign in url):
        raise bad
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise bad from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise bad
    if "@" in parts.netloc:
        raise OutboundError("A web address with a user or a password in it is not used.", permanent=True)
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise bad
    return Place(secure, parts.hostname, port or (443 if secure else 80), path)


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    private: bool,
    seconds: float = SECONDS,
    most: int = MOST_BYTES,
    authority: str = "",
) -> Answer:
    """Make one request and return the answer, whatever its status; redirects are not followed.

    `seconds` bounds everything from the look-up to the last byte; `most` is how many bytes of the body are read.
    Raises OutboundError, whose sentence never holds the path or the query: they may be a secret.
    """
    place = parse(url)
    if not private and place.port < 1024 and place.port not in {80, 443}:
        raise OutboundError(f"Port {place.port} is not a web server's port.", permanent=True)
    deadline = Deadline(seconds)
    context = tls_context(authority) if place.secure else None
    with dial(place.host, place.port, private=private, deadline=deadline, context=context) as sock:
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.default_port = 443 if place.secure else 80
        connection.auto_open = 0
        connection.sock = sock
        sent = {"User-Agent": f"Mainstay/{settings.VERSION}", "Accept-Encoding": "identity", "Connection": "close"}
        connection.request(method, place.path, body=body, headers={**sent, **(headers or {})})
        response = connection.getresponse()
        data = response.read(most)
        if deadline.over:
            raise TimeoutError
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)
