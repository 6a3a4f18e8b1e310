"""Gives a client without TLS a way to a server that wants it: a socket of mode 0600 here, verified TLS to there."""

import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from apps.backups.engines.pg.address import Address
from apps.backups.engines.pg.connect import refusal
from apps.backups.facts import EngineTrouble

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_SASL = (10).to_bytes(4, "big")  # AuthenticationSASL
_PIECE = 256 * 1024


def secured(where: Address, ca: str) -> ssl.SSLSocket:
    """Open a TLS connection to a server. Raises EngineTrouble: tls-name, tls-ca, tls-refused, refused, dns."""
    context = ssl.create_default_context(cafile=ca or None)
    if where.sslmode != "verify-full":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection((where.host, where.port), timeout=15)
    except OSError as error:
        raise refusal(where, str(error)) from None
    try:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.sendall(_SSL_REQUEST)
        answer = plain.recv(1)
        # One byte and nothing behind it: what was sent before the handshake must not be taken for the server's word.
        if answer == b"S" and not select.select([plain], [], [], 0)[0]:
            secure = context.wrap_socket(plain, server_hostname=where.host)
            secure.settimeout(None)
            return secure
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise refusal(
            where,
            "hostname mismatch" if error.verify_code in {62, 64} else "certificate verify failed",
        ) from None
    except OSError as error:
        plain.close()
        raise refusal(where, str(error)) from None
    plain.close()
    raise refusal(where, "server does not support SSL")


@contextmanager
def relay(where: Address, ca: str, folder: Path) -> Iterator[None]:
    """Relay `folder`/.s.PGSQL.5432 to the server for the block. TLS is tried first, so that its trouble has a name."""
    with secured(where, ca):
        pass
    path = folder / ".s.PGSQL.5432"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    path.chmod(0o600)
    listener.listen(8)
    stop, stopped = socket.socketpair()
    threads: list[threading.Thread] = []
    accepting = threading.Thread(target=_accept, args=(listener, stopped, where, ca, threads), daemon=True)
    accepting.start()
    try:
        yield
    finally:
        stop.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)
        listener.close()
        stopped.close()
        path.unlink(missing_ok=True)


def _accept(
    listener: socket.socket, stopped: socket.socket, where: Address, ca: str, threads: list[threading.Thread]
) -> None:
    while True:
        ready, _, _ = select.select([listener, stopped], [], [])
        if stopped in ready:
            return
        client, _ = listener.accept()
        thread = threading.Thread(target=_copy, args=(client, stopped, where, ca), daemon=True)
        threads.append(thread)
        thread.start()


def _copy(client: socket.socket, stopped: socket.socket, where: Address, ca: str) -> None:
    """Copy bytes both ways until either side ends. A client that sees its end of file reports a lost connection."""
    first: bytearray | None = bytearray()  # the server's first message, until it is whole
    with client, suppress(OSError, EngineTrouble), secured(where, ca) as server:
        while True:
            if server.pending():
                ready: list[socket.socket] = [server]
            else:
                ready, _, _ = select.select([client, server, stopped], [], [])
            if stopped in ready:
                return
            for source, sink in ((client, server), (server, client)):
                data = _received(source) if source in ready else None
                if data == b"":
                    return
                if data and source is server and first is not None:
                    first += data
                    data = without_binding(bytes(first))
                    first = None if data else first
                if data:
                    sink.sendall(data)


def without_binding(first: bytes) -> bytes:
    """Return the server's first message without the offer of channel binding, or b"" while it is not whole (pure).

    Channel binding ties the password exchange to the TLS session, which is ours and not the client's: a client on a
    socket refuses the offer. The relay's own check of the certificate stands in for it.
    """
    if len(first) < 5 or len(first) < 1 + int.from_bytes(first[1:5], "big"):
        return b""
    size = 1 + int.from_bytes(first[1:5], "big")
    if first[:1] != b"R" or first[5:9] != _SASL:
        return first
    offers = [one for one in first[9:size].split(b"\0") if one and not one.endswith(b"-PLUS")]
    body = _SASL + b"".join(one + b"\0" for one in offers) + b"\0"
    return b"R" + (len(body) + 4).to_bytes(4, "big") + body + first[size:]


def _received(source: socket.socket) -> bytes | None:
    """Return what came, b"" at the end, None when it was only TLS talking to itself (a session ticket)."""
    source.setblocking(False)
    try:
        return source.recv(_PIECE)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    finally:
        source.setblocking(True)
