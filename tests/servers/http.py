"""A recording web server on loopback that answers as it is told; with TLS when given a context."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """What a test sees: where it listens, what came, and what it answers from now on."""

    port: int = 0
    secure: bool = False
    seen: list[Seen] = field(default_factory=list)
    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None  # while set to an unset event, the answer waits for it
    drip: bool = False  # with `hang`: one byte of the header every 50 ms until then

    @property
    def url(self) -> str:
        """Return the address of its root."""
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"


@contextmanager
def web_server(*, context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Run a web server on a free port until the block ends."""
    state = WebServer(secure=context is not None)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.seen.append(Seen(self.command, self.path, headers, body))
            if state.hang is not None and not self._wait(state.hang):
                return
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def _wait(self, until: threading.Event) -> bool:
            """Wait for the event, dripping if told to; False when the other side has gone."""
            while not until.wait(0.05):
                if state.drip:
                    try:
                        self.wfile.write(b"H")
                    except OSError:
                        return False
            return not state.drip

        do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815 the standard library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the standard library's name
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        if state.hang is not None:
            state.hang.set()
        server.shutdown()
        server.server_close()
        thread.join()
