"""Starts ./mainstay for real, in a data folder of its own, and finds every process that it left."""

import os
import select
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120.0  # seconds; generous, because the test machine may be busy


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def bare(**more: str) -> dict[str, str]:
    """Return an environment with nothing of Mainstay's in it but what is named."""
    ours = ("MAINSTAY_", "DATABASE_URL", "REDIS_URL", "ADMIN_", "DJANGO_", "PYTEST_", "SECRET_KEY", "CI")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **more}


def mainstay(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ./mainstay to its end."""
    return subprocess.run(
        [str(ROOT / "mainstay"), *words], env=bare(**env), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a command that refused."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds, looking every tenth of a second."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited in vain until {what}"
        select.select([], [], [], 0.1)


class Up:
    """One `./mainstay up` under test."""

    def __init__(self, data: Path, *, words: Sequence[str] = (), **env: str) -> None:
        """Start it and wait until it says that it is ready."""
        self.data, self.port = data, free_port()
        self.log = data.parent / f"{data.name}.log"
        mine = bare(MAINSTAY_DATA=str(data), MAINSTAY_PORT=str(self.port), **env)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(ROOT / "mainstay"), "up", *words], env=mine, stdout=log, stderr=subprocess.STDOUT
            )
        until(lambda: self.process.poll() is not None or "Mainstay is ready" in self.said, f"ready: {self.said}")
        assert self.process.poll() is None, self.said

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave nothing behind whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)

    @property
    def said(self) -> str:
        """Return everything it wrote."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def left(self) -> list[int]:
        """Return every process that has this data folder in its environment, but for zombies."""
        mark = f"MAINSTAY_DATA={self.data}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def named(self, word: str) -> list[int]:
        """Return the processes of this `up` whose command line has a word."""
        return [pid for pid in self.left() if word in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")]

    def get(self, path: str) -> tuple[int, dict[str, str], str]:
        """Ask for a page and return status, headers and body; a redirect is followed."""
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}{path}", timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    def healthy(self) -> bool:
        """Return whether database and broker answer."""
        status, _, body = self.get("/healthz")
        return status == 200 and '"broker": true' in body

    def ended(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code; every process of it must be gone soon after."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        until(lambda: not self.left(), f"all gone: {self.left()}")
        return code
