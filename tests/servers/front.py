"""The TLS of a PostgreSQL that was built without it: takes only TLS, and passes the bytes inside to the real server.

PostgreSQL 18 can be had here only from wheels without TLS. The front does what its postmaster does before a session
begins, and nothing after: sign-in, protocol and every answer are the server's own. A client without TLS is passed to
the server's TCP port, where pg_hba.conf has no line for it, and hears PostgreSQL's own refusal.
"""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104  # the codes of protocol 3 that ask for an encrypted session
PIECE = 64 * 1024
Address = str | tuple[str, int]


@contextmanager
def tls_front(chain: Path, key: Path, *, inside: Path, outside: int) -> Iterator[int]:
    """Serve a free port of loopback and give it: TLS goes to the socket `inside`, the rest to the port `outside`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    stop, stopped = socket.socketpair()
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while stopped not in select.select([listener, stopped], [], [])[0]:
            client, _ = listener.accept()
            threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
            threads[-1].start()

    def serve(client: socket.socket) -> None:
        with suppress(OSError), client:
            client.settimeout(30)
            first = _asked(client)
            if first is None:
                client.sendall(b"S")
                with context.wrap_socket(client, server_side=True) as secure:
                    _pass(secure, str(inside), b"", stopped)
            else:
                _pass(client, ("127.0.0.1", outside), first, stopped)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stop.close()
        for thread in (accepting, *threads):
            thread.join(10)
        listener.close()
        stopped.close()


def _asked(client: socket.socket) -> bytes | None:
    """Return None when the client asks for TLS, else its first message; a request for GSS is declined."""
    while True:
        head = _exactly(client, 8)
        size, code = struct.unpack("!II", head)
        if code == SSL_REQUEST:
            return None
        if code != GSS_REQUEST:
            return head + _exactly(client, size - 8)
        client.sendall(b"N")


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := client.recv(size - len(data))):
            raise ConnectionResetError
        data += more
    return data


def _pass(client: socket.socket, to: Address, first: bytes, stopped: socket.socket) -> None:
    """Pass bytes both ways until either side ends or the front does."""
    with socket.socket(socket.AF_UNIX if isinstance(to, str) else socket.AF_INET) as server:
        server.connect(to)
        server.sendall(first)
        client.settimeout(None)
        while True:
            waiting = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if waiting else select.select([client, server, stopped], [], [])[0]
            if stopped in ready:
                return
            for source, sink in ((client, server), (server, client)):
                if source in ready:
                    if not (data := source.recv(PIECE)):
                        return
                    sink.sendall(data)
