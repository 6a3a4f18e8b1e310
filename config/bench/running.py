"""A Mainstay started for a bench: a data folder of its own, a free port, and every process that belongs to it."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.command.running import ROOT
from config.command.say import Refusal

OURS = ("MAINSTAY_", "DATABASE_URL", "REDIS_URL", "ADMIN_", "DJANGO_", "SECRET_KEY")


@dataclass(frozen=True, slots=True)
class Running:
    """A Mainstay that answers: its address, its process, and the seconds from the command to the first page."""

    url: str
    pid: int
    seconds: float


@contextlib.contextmanager
def mainstay(data: Path, **env: str) -> Iterator[Running]:
    """Run `./mainstay up` until its first page answered, and stop it afterwards. Raises Refusal if it cannot start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    mine = {**clean, "MAINSTAY_DATA": str(data), "MAINSTAY_PORT": str(port), **env}
    began = time.monotonic()
    process = subprocess.Popen(
        [str(ROOT / "mainstay"), "up"], env=mine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _until_ready(process)
        url = f"http://localhost:{port}"
        urllib.request.urlopen(f"{url}/", timeout=30).close()  # noqa: S310 our own address
        yield Running(url, process.pid, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _until_ready(process: subprocess.Popen[str]) -> None:
    said = ""
    with selectors.DefaultSelector() as selector:
        if process.stdout is None:
            return
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(120):
            line = process.stdout.readline()
            said += line
            if "Mainstay is ready" in line:
                return
            if not line:
                break
    raise Refusal(f"Mainstay did not start for the bench: {said.strip()}")


def family(pid: int) -> list[int]:
    """Return a process and everything that it started."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
            found.extend(int(word) for word in words)
    return found
