"""The servers of one test process: a network of their own, lent clean, taken back, and all gone when the process is."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.fleet.base import HOME, base, locked
from tests.fleet.machine import FleetError, end, hierarchies, lacks, run, unmount, until
from tests.fleet.server import Server

PLACES = range(1, 200)  # so many test processes at once
MOST = 200  # servers of one process
KEPT = 2  # clean servers that boot ahead for the next test
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")  # one for all of root; a systemd takes about eight
ENOUGH = 8192
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Place:
    """One of the numbered places for a fleet on this machine; it is held while its lock is."""

    number: int
    lock: IO[str]

    @property
    def home(self) -> Path:
        """Where its servers' disks lie."""
        return HOME / f"place-{self.number}"

    @property
    def prefix(self) -> str:
        """How its network's names begin."""
        return f"mf{self.number}"

    @property
    def network(self) -> str:
        """The first three numbers of its addresses."""
        return f"10.77.{self.number}"

    @property
    def groups(self) -> tuple[Path, ...]:
        """Its control groups, the unified one first."""
        return tuple(root / f"mainstay-fleet-{self.number}" for root in hierarchies())

    def clear(self) -> None:
        """End and remove whatever is in this place, whoever left it."""
        end(self.groups)
        unmount(self.home)
        for line in run("ip", "netns", "list").stdout.splitlines():
            if line.startswith(f"{self.prefix}-"):
                run("ip", "netns", "del", line.split()[0], check=False)
        for link in json.loads(run("ip", "-j", "link").stdout or "[]"):
            if str(link["ifname"]).startswith((f"{self.prefix}v", f"{self.prefix}br")):
                run("ip", "link", "del", link["ifname"], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def hold(number: int) -> Place | None:
    """Take a place, unless another process holds it."""
    handle = (HOME / f"place-{number}.lock").open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return Place(number, handle)


def sweep(*, wait_for: int = 0) -> list[int]:
    """Clear all that dead processes left, and return their places; `wait_for` is one that dies just now."""
    HOME.mkdir(parents=True, exist_ok=True)
    if wait_for:
        until(lambda: _free(wait_for), 30)
    swept = []
    with locked("places"):
        for file in sorted(HOME.glob("place-*.lock")):
            place = hold(int(file.stem.removeprefix("place-")))
            if place is not None:
                place.clear()
                file.unlink()
                place.lock.close()
                swept.append(place.number)
        _calm_inotify()
    return swept


def _free(number: int) -> bool:
    """Return whether nobody holds a place."""
    place = hold(number)
    if place is not None:
        place.lock.close()
    return place is not None


def _calm_inotify() -> None:
    """Put the machine's limit back when no fleet is left; call it with the lock of the places held."""
    saved = HOME / "inotify"
    if saved.exists() and not list(HOME.glob("place-*.lock")):
        INOTIFY.write_text(saved.read_text(encoding="ascii"), encoding="ascii")
        saved.unlink()


def _take_place() -> Place:
    """Take the first free place whose network nobody uses."""
    sweep()
    used = run("ip", "-o", "-4", "addr").stdout + run("ip", "-4", "route").stdout
    with locked("places"):
        for number in PLACES:
            place = hold(number) if f" 10.77.{number}." not in used else None
            if place is not None:
                saved = HOME / "inotify"
                if int(INOTIFY.read_text(encoding="ascii")) < ENOUGH:
                    saved.write_text(INOTIFY.read_text(encoding="ascii"), encoding="ascii")
                    INOTIFY.write_text(str(ENOUGH), encoding="ascii")
                place.clear()
                return place
    raise FleetError("no place for a fleet is free on this machine")


@dataclass(slots=True)
class Fleet:
    """The servers of this process. No other process, and no test at the same time, touches one that is lent."""

    place: Place
    watch: "subprocess.Popen[bytes]"
    key: Path
    ready: list[Server] = field(default_factory=list)  # clean, started, lent to nobody
    lent: list[Server] = field(default_factory=list)

    @classmethod
    def begin(cls) -> "Fleet":
        """Take a place on this machine. Raises FleetError with the reason when this machine can run no servers."""
        if lacks():
            raise FleetError(lacks())
        place = _take_place()
        place.home.mkdir(parents=True)
        # sees this process end, however it ends, by the end of a pipe, and then sweeps
        words = ["bash", "-c", 'read -r _; exec "$@"', "fleet", sys.executable, "-m", "tests.fleet", "sweep"]
        watch = subprocess.Popen(
            [*words, str(place.number)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd=REPOSITORY,
        )  # fmt: skip
        key = place.home / "id_ed25519"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", key)
        bridge = f"{place.prefix}br"
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "addr", "add", f"{place.network}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        return cls(place, watch, key)

    @property
    def controller(self) -> str:
        """The address under which the servers see the process that tests (also by the name `controller`)."""
        return f"{self.place.network}.1"

    @contextmanager
    def lend(self, count: int = 1, kind: str = "debian") -> Iterator[list[Server]]:
        """Lend clean, booted servers, and take them back: what was done to them is forgotten."""
        servers = self.take(count, kind)
        try:
            yield servers
        finally:
            self.give_back(servers)

    def take(self, count: int = 1, kind: str = "debian", *, boot: bool = True) -> list[Server]:
        """Return clean servers that have booted; with `boot=False` new ones stay off, to be changed before that.

        kind: "debian", "postgresql" (with its packages), "light" (sshd alone: no systemd, ten times cheaper).
        """
        servers = [server for server in self.ready if server.kind == kind and boot][:count]
        for server in servers:
            self.ready.remove(server)
        self.lent += servers
        for _ in range(count - len(servers)):
            server = self._new(kind)
            self.lent.append(server)
            servers.append(server)
        try:
            for begun in range(0, len(servers) if boot else 0, 4):  # few at a time: booting is what costs
                for server in servers[begun : begun + 4]:
                    server.start()
                for server in servers[begun : begun + 4]:
                    server.wait()
        except FleetError:
            self.give_back(servers)
            raise
        return servers

    def give_back(self, servers: list[Server]) -> None:
        """Destroy servers; of the common kind a few new ones begin to boot for the next test."""
        for server in servers:
            self.lent.remove(server)
            server.destroy()
        while any(server.kind == "debian" for server in servers) and len(self.ready) < min(KEPT, len(servers)):
            fresh = self._new("debian")
            fresh.start()
            self.ready.append(fresh)

    def _new(self, kind: str) -> Server:
        """Make a server that has never booted."""
        taken = {server.name for server in (*self.ready, *self.lent)}
        number = next((number for number in range(1, MOST + 1) if f"srv{number}" not in taken), 0)
        if not number:
            raise FleetError(f"a fleet has at most {MOST} servers")
        place, name = self.place, f"srv{number}"
        server = Server(
            name=name, kind=kind, address=f"{place.network}.{10 + number}", home=place.home / name,
            namespace=f"{place.prefix}-{name}", link=f"{place.prefix}v{number}",
            groups=tuple(group / name for group in place.groups), key=self.key,
        )  # fmt: skip
        server.destroy()  # what an attempt that failed half way may have left
        server.make(base(kind), gateway=self.controller, bridge=f"{place.prefix}br")
        return server

    def close(self) -> None:
        """End every server and leave nothing but the bases."""
        self.place.clear()
        for server in (*self.ready, *self.lent):
            if server.process is not None:
                server.process.wait(10)
        self.ready, self.lent = [], []
        self.watch.kill()
        self.watch.wait(10)
        if self.watch.stdin is not None:
            self.watch.stdin.close()
        with locked("places"):
            (HOME / f"place-{self.place.number}.lock").unlink(missing_ok=True)
            _calm_inotify()
        with suppress(OSError):
            self.place.lock.close()


def purge() -> None:
    """Remove what dead processes left, and the bases. Raises FleetError while a fleet is in use."""
    sweep()
    if list(HOME.glob("place-*.lock")):
        raise FleetError("a fleet is in use")
    shutil.rmtree(HOME, ignore_errors=True)
