"""Real PostgreSQL servers for the tests: 15 (Debian), 16 to 18 (wheels), over TCP, never as root, also TLS only."""

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from apps.backups.engines.base import Target
from apps.backups.scratch import jail
from apps.backups.scratch.installs import server_install
from tests.servers.front import tls_front

MAJORS = (15, 16, 17, 18)
PASSWORD = "pa:ss\\w'ord é"
_TEMPLATES: dict[str, Path] = {}


@dataclass(slots=True)
class Server:
    """A running server with a superuser `postgres` and password sign-in."""

    major: int
    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"
    log: list[str]

    def target(
        self, database: str = "postgres", *, user: str = "postgres", password: str = PASSWORD, **config: Any
    ) -> Target:
        """Return what an engine needs."""
        settings = {"host": "127.0.0.1", "port": self.port, "database": database, "user": user, **config}
        return Target("postgresql", settings, {"password": password})

    def connect(
        self, database: str = "postgres", *, user: str = "postgres", password: str = PASSWORD, **more: Any
    ) -> psycopg.Connection:
        """Connect over TCP, in autocommit."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=user, password=password, autocommit=True, **more
        )

    def make(self, database: str, *statements: str, owner: str = "postgres") -> Target:
        """Make a database, run statements in it, and return its target."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{database}" OWNER "{owner}" TEMPLATE template0')
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)
        return self.target(database)


def free_port() -> int:
    """Return a port of loopback that nobody holds just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _folder(major: int) -> Path:
    """Return a new folder, in memory where there is room: a test's server need not survive anything."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 1024**3
    return Path(tempfile.mkdtemp(prefix=f"pg{major}-", dir=memory if roomy else None))


def _as_user() -> dict[str, Any]:
    """Return whom a server runs as: PostgreSQL refuses root."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def _programs(major: int) -> Any:
    found = server_install(major)
    assert found is not None, f"the tests need a PostgreSQL {major} server"
    return jail.readable(found, jail.keeper())


def _template(major: int, extra: str) -> Path:
    key = f"{major}{extra}"
    if key not in _TEMPLATES:
        install = _programs(major)
        folder = _folder(major)
        passfile = folder / "pass"
        passfile.write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.chown(passfile, 65534, 65534)
        subprocess.run(
            [
                install.program("initdb"),
                "-D",
                str(folder / "data"),
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                f"--pwfile={passfile}",
            ],
            check=True,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            **_as_user(),
        )
        _TEMPLATES[key] = folder / "data"
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _TEMPLATES[key]


@contextmanager
def server(
    major: int, *, tls: tuple[Path, Path] | None = None, settings: str = "", data: Path | None = None
) -> Iterator[Server]:
    """Start a server for the block, of a copy of `data`. `tls` (certificate, key): it accepts nothing else over TCP.

    A server that was built without TLS gets a front that speaks it; `port` is then the front's.
    """
    install = _programs(major)
    folder = _folder(major)
    origin, data, port, log = data or _template(major, ""), folder / "data", free_port(), []
    fronted = tls is not None and not install.tls
    subprocess.run(["/bin/cp", "-a", str(origin), str(data)], check=True)
    conf = (
        f"listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories='{folder}'\nfsync=off\nfull_page_writes=off\n"
        f"wal_level=logical\nmax_connections=40\nautovacuum=off\nlc_messages='C'\n{settings}\n"
    )
    if fronted:  # its own TCP port stays open, with no line in pg_hba.conf that lets anyone in
        (data / "pg_hba.conf").write_text("local all all scram-sha-256\n", encoding="ascii")
    elif tls:
        for source, name in zip(tls, ("server.crt", "server.key"), strict=True):
            shutil.copy(source, data / name)
            (data / name).chmod(0o600)
        conf += "ssl=on\n"
        (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all all scram-sha-256\n", encoding="ascii")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(conf)
    if os.geteuid() == 0:
        for path in (folder, *data.glob("server.*")):
            os.chown(path, 65534, 65534)
    ready = threading.Event()
    process = subprocess.Popen(
        [install.program("postgres"), "-D", str(data)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        **_as_user(),
    )

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line.decode(errors="replace"))
            if "ready to accept " in log[-1]:  # connections, or read-only ones
                ready.set()
        ready.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        assert ready.wait(60), log
        assert process.poll() is None, log
        with ExitStack() as front:
            if fronted and tls:
                inside = folder / f".s.PGSQL.{port}"
                port = front.enter_context(tls_front(*tls, inside=inside, outside=port))
            yield Server(major, port, folder, process, log)
    finally:
        process.send_signal(3)  # SIGQUIT: at once
        process.wait(30)
        reader.join(10)
        shutil.rmtree(folder, ignore_errors=True)
