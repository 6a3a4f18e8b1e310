"""The jail in which a restored database, which is untrusted code, runs: who it is, what it sees, and the proof.

As root: an own system user `mainstay-scratch`, and own mount, network, process and IPC namespaces where the machine
allows them. Otherwise: a user namespace with a root file system that holds only what is needed. Where neither is
possible nothing is started and the test says so.
"""

import fcntl
import functools
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from apps.backups.facts import EngineTrouble
from apps.backups.scratch.installs import Install

USER = "mainstay-scratch"
_LAUNCH = str(Path(__file__).with_name("launch.py"))
_LONGEST = 60  # characters of the scratch folder's path
_NOT_HIDDEN, _NOT_JAILED = 97, 98  # launch.py's exit codes; importing it would make it part of the worker


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who runs what is in the jail. `uid` None: our own id, inside a user namespace."""

    uid: int | None
    gid: int | None
    namespaces: bool

    @property
    def said(self) -> str:
        """Say in words what keeps the restored database apart."""
        if self.uid is None:
            return "own user, mount, network and process namespaces"
        own = f"system user {USER}"
        return f"{own}, own mount, network and process namespaces" if self.namespaces else f"{own}, no namespaces"


@dataclass(slots=True)
class Jail:
    """What one jailed program may touch: the run's folder, and the trees of its programs."""

    keeper: Keeper
    folder: Path
    installs: tuple[Install, ...] = ()

    def popen(
        self, argv: Sequence[str], *, stdin: Any = subprocess.DEVNULL, stdout: Any = None, stderr: Any = None
    ) -> "subprocess.Popen[bytes]":
        """Start a program in the jail; raises nothing about the program itself, see `trouble`."""
        root = self.folder / "root"
        spec = {
            "parent": os.getpid(),
            "namespaces": self.keeper.namespaces,
            "uid": self.keeper.uid,
            "gid": self.keeper.gid,
            "root": str(root),
            "binds": [*([str(tree), False] for one in self.installs for tree in one.trees), [str(self.folder), True]],
            "hidden": [str(path) for path in hidden(self.folder)],
            "argv": list(argv),
            "env": {
                "PATH": "/usr/bin:/bin",
                "LC_ALL": "C",
                "TZ": "UTC",
                "HOME": str(self.folder),
                **self._libraries(argv[0]),
            },
            "cwd": str(self.folder),
        }
        return subprocess.Popen(
            [sys.executable, "-I", "-S", _LAUNCH, json.dumps(spec)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={"LC_ALL": "C.UTF-8"},
        )

    def _libraries(self, program: str) -> dict[str, str]:
        mine = [one.library_path for one in self.installs if Path(program).parent == one.bin and one.library_path]
        return {"LD_LIBRARY_PATH": mine[0]} if mine else {}

    def run(
        self, argv: Sequence[str], *, seconds: float, stdin: IO[bytes] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a program to its end and return what it said (only its last 200 kB of each stream)."""
        with self.popen(
            argv, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out[-200_000:], err[-200_000:])


def refused(code: int, said: str) -> EngineTrouble | None:
    """Return the trouble when it was the jail that failed and not the program in it."""
    if code == _NOT_HIDDEN:
        return EngineTrouble(
            "The restore test was not started: the restored database could have read Mainstay's own files. "
            "Nothing was restored. Set the data folder's mode to 0700 and try again.",
            code="jail-open",
            untestable=True,
            log=(said[-300:],),
        )
    if code == _NOT_JAILED:
        return EngineTrouble(
            "The restore test was not started: the restored database could not be locked away "
            "on this machine. Nothing was restored.",
            code="no-jail",
            untestable=True,
            log=(said[-300:],),
        )
    return None


def hidden(folder: Path) -> tuple[Path, ...]:
    """Return what must not open in the jail of a run's folder: the data folder, the keys, and our own home's SSH keys.

    Where the run's folder is inside the data folder, that one is an empty name in the jail: then what is in it counts.
    """
    data, keys = Path(settings.MAINSTAY_DATA), Path(settings.MAINSTAY_KEYS)
    inside = sorted(keys.iterdir()) if keys.is_dir() else []
    own = (
        [data] if not folder.is_relative_to(data) else [one for one in data.iterdir() if not folder.is_relative_to(one)]
    )
    return (*own, keys, *inside, Path.home() / ".ssh")


def home() -> Path:
    """Return the folder under which every scratch server lives."""
    if settings.MAINSTAY_SCRATCH:
        return Path(settings.MAINSTAY_SCRATCH).absolute()
    # As root outside the data folder, which stays closed to the scratch user; otherwise inside it.
    if os.geteuid() == 0:
        return Path("/var/lib/mainstay-scratch")
    inside = Path(settings.MAINSTAY_DATA) / "pg"
    if len(str(inside)) <= _LONGEST:
        return inside
    # A socket's path must stay under 108 characters: a short name in the temporary folder, for this user only.
    mark = hashlib.sha256(str(inside).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"mainstay-{os.geteuid()}-{mark}"


def keeper() -> Keeper:
    """Return who keeps restored databases apart here, tried for real once a process; raises untestable trouble."""
    place = home()
    place.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != os.geteuid():
        raise EngineTrouble(
            f"Restores cannot be tested here: the folder {place} belongs to somebody else. "
            "Remove it, or name another one in "
            "MAINSTAY_SCRATCH. Backups go on.",
            code="no-jail",
            untestable=True,
        )
    return _keeper(os.geteuid(), str(home()))


@functools.lru_cache(maxsize=8)
def _keeper(euid: int, _home: str) -> Keeper:
    if euid != 0:
        return _tried([Keeper(None, None, namespaces=True)])
    entry = _system_user()
    return _tried([Keeper(entry.pw_uid, entry.pw_gid, namespaces) for namespaces in (True, False)])


def _tried(keepers: list[Keeper]) -> Keeper:
    said = ""
    for candidate in keepers:
        folder = Path(tempfile.mkdtemp(prefix="try-", dir=home()))
        try:
            (folder / "root").mkdir()
            give(folder, candidate)
            done = Jail(candidate, folder).run([shutil.which("true") or "/bin/true"], seconds=30)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if done.returncode == 0:
            return candidate
        said = done.stderr.decode(errors="replace").strip()
        if trouble := refused(done.returncode, said) if done.returncode == _NOT_HIDDEN else None:
            raise trouble
    raise EngineTrouble(
        "Restores cannot be tested here: a restored database is untrusted code, and this "
        "machine allows neither a user of its own "
        "(run Mainstay as root) nor a user namespace (kernel.unprivileged_userns_clone). Backups go on.",
        code="no-jail",
        untestable=True,
        log=(said[-300:],),
    )


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        pass
    add = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if add:
        lock = home() / ".user.lock"
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            subprocess.run(
                [
                    add,
                    "--system",
                    "--user-group",
                    "--no-create-home",
                    "--home-dir",
                    "/nonexistent",
                    "--shell",
                    "/usr/sbin/nologin",
                    USER,
                ],
                check=False,
                capture_output=True,
                timeout=60,
            )
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        raise EngineTrouble(
            f"Restores cannot be tested here: the system user {USER} is missing and could not be made. Add it with "
            f"`useradd --system {USER}`. Backups go on.",
            code="no-jail",
            untestable=True,
        ) from None


def give(path: Path, to: Keeper) -> None:
    """Hand a file or folder that we made to who runs in the jail."""
    if to.uid is not None and to.gid is not None:
        os.chown(path, to.uid, to.gid)


def readable(install: Install, to: Keeper) -> Install:
    """Return the same programs where the jail can read them: as root a copy with its libraries, otherwise in place."""
    if to.uid is None or not install.trees:
        return install
    parent = install.trees[0].parent.parent if len(install.trees) == 1 else Path(os.path.commonpath(install.trees))
    mark = hashlib.sha256(
        f"{install.bin} {install.version} {(install.bin / 'pg_dump').stat().st_mtime_ns}".encode()
    ).hexdigest()[:12]
    place = home() / "programs" / f"{install.origin}-{install.version}-{mark}"
    place.parent.mkdir(mode=0o755, exist_ok=True)
    if not place.is_dir():
        with (place.parent / ".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not place.is_dir():
                half = place.with_name(f".{place.name}.half")
                shutil.rmtree(half, ignore_errors=True)
                for tree in install.trees:
                    shutil.copytree(tree, half / tree.relative_to(parent), symlinks=True)
                _open_to_all(half)
                half.rename(place)
    return Install(
        bin=place / install.bin.relative_to(parent),
        major=install.major,
        version=install.version,
        tls=install.tls,
        origin=install.origin,
        server=install.server,
        extensions=install.extensions,
        trees=(place,),
    )


def _open_to_all(top: Path) -> None:
    for folder, _, files in os.walk(top):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
