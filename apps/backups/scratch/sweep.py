"""Removes a scratch server by what the ledger knows of it: its processes, however they were left, and its folder."""

import json
import os
import select
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from apps.backups.facts import EngineTrouble


def sweep(where: str) -> None:
    """Kill every process that lives in the folder, and remove it. Safe to repeat, and after the worker was killed.

    `where` is the ledger's JSON: {"folder": path}. Raises EngineTrouble when something is still there afterwards.
    """
    folder = Path(json.loads(where)["folder"])
    if folder.parent.name != "runs" or len(folder.parts) < 4:
        raise EngineTrouble(f"{folder} is not a folder of a scratch server; it was left alone.", code="not-ours")
    note = folder.parent / f"{folder.name}.pid"
    with suppress(OSError, ValueError):
        pid, _, start = note.read_text(encoding="ascii").partition(" ")
        if start and started_at(int(pid)) == int(start):  # a number that was used again belongs to somebody else
            _kill(int(pid))
    for _ in range(20):
        left = living_in(folder)
        if not left:
            break
        for pid_left in left:
            _kill(pid_left)
    shutil.rmtree(folder, ignore_errors=True)
    note.unlink(missing_ok=True)
    if folder.exists():
        raise EngineTrouble(
            f"The scratch folder {folder} could not be removed. It holds a restored copy of your "
            "data: remove it by hand.",
            code="leftover",
            permanent=False,
        )


def started_at(pid: int) -> int:
    """Return when a process started, in clock ticks since the machine did; 0 when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def living_in(folder: Path) -> list[int]:
    """Return the processes whose working directory is in the folder (a jailed one shows the same path from outside)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.append(int(entry.name))
    return found


def _kill(pid: int) -> None:
    """Kill one process and wait until it is gone, five seconds at most."""
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], 5)
        finally:
            os.close(handle)
