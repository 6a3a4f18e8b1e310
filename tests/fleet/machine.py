"""What the servers need of the machine that tests: tools, mounts, control groups and the right to make namespaces."""

import functools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

# program -> Debian package; config.command.packages installs them
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}


class FleetError(RuntimeError):
    """Something of the fleet did not work; the words say what."""


def run(
    *words: str | Path, check: bool = True, timeout: float = 120, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program and return what it said. Raises FleetError with its words when it fails and `check` is set."""
    done = subprocess.run(
        [str(word) for word in words], stdin=None if "input" in more else subprocess.DEVNULL, input=more.get("input"),
        capture_output=True, text=True, errors="replace", check=False, timeout=timeout,
    )  # fmt: skip
    if check and done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()[-2000:]
        raise FleetError(f"{' '.join(map(str, words))[:300]} ended with {done.returncode}: {said}")
    return done


def until(met: Callable[[], bool], seconds: float, *, every: float = 0.05) -> bool:
    """Return whether a condition came true within so many seconds; it is looked at `every` so many."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            return False
        pause.wait(every)
    return True


@functools.cache
def lacks() -> str:
    """Return why this machine can run no servers, as one sentence, or nothing when it can."""
    release = Path("/etc/os-release")
    if not release.is_file() or not re.search(r"^ID=debian$", release.read_text(encoding="utf-8"), re.MULTILINE):
        return "The test servers are made from a Debian system's own packages, and this is none."
    if os.geteuid() != 0:
        return "The test servers need root, for namespaces and mounts."
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        return f"The test servers need the packages {', '.join(missing)}, which are not installed."
    if not any(kind == "cgroup2" for _, kind, _ in mounts()):
        return "The test servers need a cgroup2 hierarchy, and none is mounted here."
    tried = run("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "true", check=False)
    return f"This machine forbids namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def mounts() -> list[tuple[str, str, str]]:
    """Return mount point, type and options of every mount, the innermost last."""
    rows = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind, options, *_ = line.split()
        rows.append((re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), point), kind, options))
    return rows


def unmount(below: Path) -> None:
    """Unmount everything at or below a folder, the innermost first."""
    points = [point for point, _, _ in mounts() if Path(point).is_relative_to(below)]
    for point in reversed(points):
        if run("umount", point, check=False).returncode:
            run("umount", "--lazy", point, check=False)


@functools.cache
def hierarchies() -> tuple[Path, ...]:
    """Return the unified hierarchy and, on a hybrid machine, systemd's named one of version 1."""
    unified = [point for point, kind, _ in mounts() if kind == "cgroup2"][:1]
    named = [point for point, kind, options in mounts() if kind == "cgroup" and "name=systemd" in options][:1]
    return tuple(Path(point) for point in unified + named)


def members(group: Path) -> set[int]:
    """Return the process ids in a control group and all groups below it."""
    found: set[int] = set()
    for folder in below(group):
        with suppress(OSError):
            listed = (folder / "cgroup.procs").read_text(encoding="ascii").split()
            found |= {int(number) for number in listed if number != "0"}
    return found


def below(group: Path) -> list[Path]:
    """Return a control group and all in it, the innermost first; sessions come and go meanwhile."""
    return [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]


def end(names: Iterable[Path]) -> None:
    """Kill every process of the same control group in all hierarchies at once, and remove the groups.

    Raises FleetError when something in it cannot be killed.
    """
    groups = list(names)
    if not until(lambda: _ended(groups), 30):
        raise FleetError(f"processes of {groups[0].name} do not die: {sorted(members(groups[0]))}")


def _ended(groups: list[Path]) -> bool:
    """Kill all in the first group, frozen or not, and try to remove the groups; one that just starts may join late."""
    for folder in below(groups[0]) if members(groups[0]) else []:
        with suppress(OSError):
            (folder / "cgroup.freeze").write_text("0", encoding="ascii")
    try:
        (groups[0] / "cgroup.kill").write_text("1", encoding="ascii")
    except OSError:  # Linux before 5.14, or no such group
        for pid in members(groups[0]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for folder in [folder for group in groups for folder in below(group)]:
        with suppress(OSError):  # the kernel lets go of dead members a moment late
            folder.rmdir()
    return not any(group.exists() for group in groups)
