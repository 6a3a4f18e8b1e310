"""Keeps the children of `./mainstay up` alive, and leaves none behind however it ends."""

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from config.command.say import complain

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_COMM = Path("/proc/self/comm")  # the name in top and ps, 15 bytes
GRACE = 5.0  # seconds a child has after SIGTERM; what it leaves is taken over when its lease is over
STEADY = 60.0  # seconds after which a child counts as well again
SLOWEST = 30.0  # seconds between two tries to start a child, at most
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def die_with_parent(parent: int) -> None:
    """End this process by SIGKILL when its parent ends, also when that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@dataclass(frozen=True, slots=True)
class Child:
    """One child by name, its body, and whether others must be gone before it is told to stop."""

    name: str
    body: Callable[[], None]
    last: bool = False


@dataclass(slots=True)
class _Place:
    """One child's place: its process while it runs, and when to start the next."""

    child: Child
    pid: int = 0
    since: float = 0.0
    wait: float = 0.0
    again_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Starts children, starts those again that die, and stops all of them on a signal."""

    places: dict[str, _Place] = field(default_factory=dict)
    signals: list[int] = field(default_factory=list)
    wakeup: int = -1

    def open(self) -> None:
        """Take the signals and the orphans of every child."""
        _COMM.write_text("mainstay up", encoding="ascii")
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self.wakeup, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (*STOPS, signal.SIGCHLD):
            signal.signal(number, self._heard)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if number in STOPS:
            self.signals.append(number)

    @property
    def stopping(self) -> bool:
        """Return whether someone asked to stop."""
        return bool(self.signals)

    def start(self, child: Child) -> None:
        """Start a child now."""
        place = self.places.setdefault(child.name, _Place(child))
        place.since, place.pid = time.monotonic(), self.fork(child.body, child.name)

    def fork(self, body: Callable[[], None], name: str = "step") -> int:
        """Run a body in a fork of this process, in a process group of its own; return its process id."""
        parent = os.getpid()
        gc.freeze()  # what is loaded stays shared: the collector would touch, and so copy, every page
        pid = os.fork()
        if pid:
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (*STOPS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setpgid(0, 0)
            die_with_parent(parent)
            _COMM.write_text(f"mainstay {name}"[:15], encoding="ascii")
            body()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 this is the last frame of the process
            traceback.print_exc()
        finally:
            os._exit(code)

    def finish(self, pid: int) -> int:
        """Wait for a fork that is no child to be kept, and return its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def watch(self, answers: socket.socket | None, on_answer: Callable[[bytes], socket.socket | None]) -> None:
        """Keep the children until a signal comes. `answers` is a probe under way; `on_answer` returns the next one."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.wakeup, selectors.EVENT_READ)
            if answers is not None:
                selector.register(answers, selectors.EVENT_READ)
            while not self.stopping:
                for key, _ in selector.select(self._pause()):
                    if key.fd == self.wakeup:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self.wakeup, 4096)
                    elif answers is not None:
                        selector.unregister(answers)
                        with answers:
                            try:
                                said = answers.recv(64)
                            except OSError:
                                said = b""
                        answers = on_answer(said)
                        if answers is not None:
                            selector.register(answers, selectors.EVENT_READ)
                self._reap()
                self._start_again()

    def _pause(self) -> float | None:
        waits = [place.again_at - time.monotonic() for place in self.places.values() if not place.pid]
        return max(0.0, min(waits)) if waits else None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for place in self.places.values():
                if place.pid == pid:
                    self._died(place, os.waitstatus_to_exitcode(status))

    def _died(self, place: _Place, code: int) -> None:
        now = time.monotonic()
        _kill_group(place.pid, signal.SIGKILL)  # whatever it had started
        place.pid = 0
        if self.stopping:
            return
        place.wait = 0.2 if now - place.since > STEADY or not place.wait else min(place.wait * 2, SLOWEST)
        place.again_at = now + place.wait
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        complain(f"Mainstay: the {place.child.name} process ended {how}; starting it again in {place.wait:.1f} s.")

    def _start_again(self) -> None:
        now = time.monotonic()
        for place in self.places.values():
            if not place.pid and place.again_at <= now and not self.stopping:
                self.start(place.child)

    def stop(self) -> None:
        """Stop every child, the broker last, and whatever they left; a second signal stops at once."""
        asked = len(self.signals)
        self.signals.append(signal.SIGTERM)
        for last in (False, True):
            group = [place for place in self.places.values() if place.pid and place.child.last is last]
            for place in group:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, signal.SIGTERM)
            until = time.monotonic() + GRACE
            while any(place.pid for place in group) and time.monotonic() < until:
                if len(self.signals) > asked + 1:
                    break
                self._wait(until - time.monotonic())
                self._reap()
            for place in group:
                if place.pid:
                    _kill_group(place.pid, signal.SIGKILL)
        self._kill_orphans()

    def _wait(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.wakeup, selectors.EVENT_READ)
            if selector.select(max(0.0, min(seconds, 0.25))):
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wakeup, 4096)

    def _kill_orphans(self) -> None:
        """Kill what the children had started; as their reaper this process inherits each of them."""
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            pids = _children_of(os.getpid())
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._wait(0.05)
            self._reap()


def _kill_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


