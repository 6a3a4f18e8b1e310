"""A real S3 server (SeaweedFS) on loopback: one a process, random ports, identities of limited rights."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

from apps.backups.stores.base import Place

# name → what it may do; the secret is the name behind "secret-". SeaweedFS takes ACTION or ACTION:bucket.
IDENTITIES = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "reader": ["Read", "List"],
    "writer": ["Write", "List"],  # neither reads back nor …
    "nobody": ["List:elsewhere"],
    "public": ["Admin", "Read", "Write", "List"],
}


@dataclass
class S3Server:
    """A running server."""

    endpoint: str
    folder: Path
    process: "subprocess.Popen[bytes]"
    made: list[str] = field(default_factory=list)

    def place(self, bucket: str, *, who: str = "admin", secret: str = "", endpoint: str = "", **config: Any) -> Place:
        """Return a place in a bucket for one of the identities."""
        return Place(
            "s3",
            {
                "endpoint": endpoint or self.endpoint,
                "bucket": bucket,
                "path_style": True,
                "region": "us-east-1",
                **config,
            },
            {"access_key": who, "secret_key": secret or f"secret-{who}"},
        )

    def client(self, who: str = "admin") -> Any:
        """Return a boto3 client of an identity, for what a test does behind the store's back."""
        from apps.backups.stores.s3 import S3Store  # noqa: PLC0415 boto3 only where it is used

        return S3Store(self.place("any", who=who)).client

    def bucket(self, *, lock: bool = False, public: bool = False) -> str:
        """Make a bucket of its own and return its name."""
        name = f"b{os.urandom(6).hex()}"
        self.client().create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        if public:
            policy = {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": ["s3:GetObject", "s3:ListBucket"],
                        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
                    }
                ],
            }
            self.client().put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
        return name


def _ports(count: int) -> list[int]:
    with ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server for the block; it is killed and its folder removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mainstay-s3-"))
    master, master2, volume, volume2, filer, filer2, s3, s32 = _ports(8)
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": f"secret-{name}"}],
            "actions": actions,
        }
        for name, actions in IDENTITIES.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    weed = Path(sys.executable).with_name("weed")
    options = {
        "dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
        "master.port": master, "master.port.grpc": master2, "volume.port": volume, "volume.port.grpc": volume2,
        "filer": "true", "filer.port": filer, "filer.port.grpc": filer2,
        "s3": "true", "s3.port": s3, "s3.port.grpc": s32, "s3.port.iceberg": 0, "s3.port.lance": 0,
        "s3.config": folder / "s3.json", "master.telemetry": "false", "master.volumeSizeLimitMB": 64, "volume.max": 900,
        "master.electionTimeout": "1s", "volume.preStopSeconds": 0,
        "filer.localSocket": folder / "f.sock", "s3.localSocket": folder / "s.sock",
    }  # fmt: skip
    command = [str(weed), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "WEED_S3_SSE_KEK": "ab" * 32},
        )
    server = S3Server(f"http://127.0.0.1:{s3}", folder, process)
    try:
        _wait_until_it_takes_objects(server)
        yield server
    finally:
        process.kill()  # a gentle stop takes 15 s
        process.wait()
        rmtree(folder, ignore_errors=True)


def _wait_until_it_takes_objects(server: S3Server) -> None:
    pause = threading.Event()
    last: Exception | None = None
    for _ in range(240):
        assert server.process.poll() is None, (server.folder / "log").read_text()[-2000:]
        try:
            client = server.client()
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"x" * 1000)
        except Exception as error:  # noqa: BLE001 the ports open before the volumes: any refusal means not yet
            last = error
            pause.wait(0.25)
        else:
            return
    raise AssertionError("SeaweedFS did not become ready") from last


class Relay:
    """A TCP relay on loopback in front of a server: it can cut a connection after so many bytes, once.

    `meddle(request head) -> bytes | None` may answer a request itself instead of passing it on.
    """

    def __init__(self, endpoint: str) -> None:
        """Take the endpoint behind."""
        host, port = endpoint.removeprefix("http://").split(":")
        self._behind = (host, int(port))
        self.cut_up: int | None = None  # bytes of requests after which every connection is cut, once
        self.cut_down: int | None = None  # the same of answers
        self.meddle: Callable[[bytes], bytes | None] = lambda _head: None
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Return the address to use instead."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Close everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                front, _ = self._listener.accept()
            except OSError:
                return
            back = socket.create_connection(self._behind)
            self._open += [front, back]
            threading.Thread(target=self._up, args=(front, back), daemon=True).start()
            threading.Thread(target=self._down, args=(back, front), daemon=True).start()

    def _up(self, front: socket.socket, back: socket.socket) -> None:
        with suppress(OSError):
            while data := front.recv(65536):
                if (answer := self.meddle(data)) is not None:
                    front.sendall(answer)
                    break
                if self.cut_up is not None:
                    self.cut_up -= len(data)
                    if self.cut_up < 0:
                        self.cut_up, self.cuts = None, self.cuts + 1
                        break
                back.sendall(data)
        self._end(front, back)

    def _down(self, back: socket.socket, front: socket.socket) -> None:
        with suppress(OSError):
            while data := back.recv(65536):
                if self.cut_down is not None:
                    self.cut_down -= len(data)
                    if self.cut_down < 0:
                        self.cut_down, self.cuts = None, self.cuts + 1
                        break
                front.sendall(data)
        self._end(front, back)

    @staticmethod
    def _end(*both: socket.socket) -> None:
        for each in both:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
