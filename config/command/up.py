"""./mainstay up: checks the ground, prepares the data folder and keeps Mainstay running until a signal comes."""

import argparse
import contextlib
import errno
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from config.command import children, prepare
from config.command.running import ROOT
from config.command.say import Refusal, say
from config.command.supervisor import Supervisor

ROOM = 32 * 1024 * 1024  # bytes the data folder must have free to start


def run(arguments: list[str]) -> int:
    """Start Mainstay and return when it was stopped."""
    parser = argparse.ArgumentParser(prog="./mainstay up", description="Start Mainstay until Ctrl-C.")
    parser.add_argument("--data", metavar="DIR", help="the data folder (MAINSTAY_DATA)")
    parser.add_argument("--port", metavar="N", help="the port (MAINSTAY_PORT)")
    options = parser.parse_args(arguments)
    data, host, port = ground(options.data, options.port)
    url = os.environ["MAINSTAY_URL"]
    with hold(data), listen(host, port) as listener:
        with contextlib.suppress(OSError):  # only what other commands print as a link depends on it
            (data / "run" / "url").write_text(f"{url}\n", encoding="ascii")
        keep(data, url, listener)
    say("Mainstay has stopped.")
    return 0


def ground(data_word: str | None, port_word: str | None) -> tuple[Path, str, int]:
    """Read where to keep state and where to listen, write both into the environment, and refuse what is not safe."""
    data = Path(data_word or os.environ.get("MAINSTAY_DATA") or ROOT / "data").absolute()
    port = as_port(port_word or os.environ.get("MAINSTAY_PORT") or "8000")
    host = os.environ.get("MAINSTAY_LISTEN") or "127.0.0.1"
    url = (os.environ.get("MAINSTAY_URL") or f"http://localhost:{port}").rstrip("/")
    if not loopback(host) and urlsplit(url).scheme != "https":
        raise Refusal(
            f"Mainstay will not listen on {host} without https: passwords would cross the network readable. Put a "
            "proxy with a certificate in front and set MAINSTAY_URL to its https address, or leave MAINSTAY_LISTEN at "
            "127.0.0.1. Nothing was started."
        )
    os.environ.update(MAINSTAY_DATA=str(data), MAINSTAY_PORT=str(port), MAINSTAY_URL=url)
    os.chdir(ROOT)
    return data, host, port


def as_port(word: str) -> int:
    """Return a port from 1 to 65535, or refuse."""
    if not word.isdecimal() or not 0 < int(word) < 65536:
        raise Refusal(f"The port must be a number from 1 to 65535, not {word!r}. Nothing was started.")
    return int(word)


def loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine only. Names other than localhost are refused."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise Refusal(f"MAINSTAY_LISTEN must be an address such as 127.0.0.1 or 0.0.0.0, not {host!r}.") from None


def hold(data: Path) -> IO[str]:
    """Make the data folder and take its lock. A second `up` on one folder is refused and hears whose it is."""
    run_folder = data / "run"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (run_folder, data / "built"):
            folder.mkdir(mode=0o700, exist_ok=True)
        free = shutil.disk_usage(data).free
        lock = (run_folder / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise Refusal(prepare.disk(data, error)) from error
    if free < ROOM:
        raise Refusal(prepare.full(data))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if alive(owner(lock)) or not waited(lock):
            raise Refusal(
                f"Mainstay already runs on the data folder {data} (process {owner(lock) or 'unknown'}). Nothing was "
                "changed; stop that one first, or name another folder with --data."
            ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def owner(lock: IO[str]) -> int:
    """Return the process that wrote itself into the lock; 0 when it cannot be read."""
    lock.seek(0)
    word = lock.read(32).strip()
    return int(word) if word.isdecimal() else 0


def alive(pid: int) -> bool:
    """Return whether a process is there."""
    return pid > 0 and Path(f"/proc/{pid}").exists()


def waited(lock: IO[str]) -> bool:
    """Wait for the children of a killed `up`, which still hold the lock while they end: at most five seconds."""

    def late(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except TimeoutError:
        return False
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return True


def listen(host: str, port: int) -> socket.socket:
    """Bind the port at once, so that one that is taken is heard of before anything else is done."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: f"Port {port} on {host} is taken by another program. Stop it, or start with --port N",
            errno.EACCES: f"This user may not listen on port {port}. Start with --port N above 1023",
            errno.EADDRNOTAVAIL: f"This machine has no address {host}. Correct MAINSTAY_LISTEN",
        }.get(error.errno or 0, f"Mainstay cannot listen on {host} port {port} ({error.strerror})")
        raise Refusal(f"{why}. Nothing was changed.") from error
    return listener


def keep(data: Path, url: str, listener: socket.socket) -> None:
    """Prepare everything, start the children and keep them until a signal comes; leave none behind."""
    supervisor = Supervisor()
    supervisor.open()
    try:
        settings = prepare.load_django(data)
        if not settings.REDIS_URL:
            if settings.BROKER_SOCKET.parent != data / "run":
                prepare.own_folder(settings.BROKER_SOCKET.parent)
            supervisor.start(children.broker(settings))
        children.load()
        prepare.everything(settings, supervisor.fork, supervisor.finish)
        for child in (children.web(listener), children.quick(), children.heavy(), children.collector()):
            if not supervisor.stopping:
                supervisor.start(child)
        supervisor.watch(*greeting(listener, url))
    finally:
        supervisor.stop()


def greeting(
    listener: socket.socket, url: str
) -> tuple[socket.socket | None, Callable[[bytes], socket.socket | None]]:
    """Return a request for the first page, and what to do with its answer: say that Mainstay is ready, or ask again."""
    host, port = listener.getsockname()[:2]
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound
    name = urlsplit(url).netloc

    def ask() -> socket.socket | None:
        try:
            probe = socket.create_connection((reach, port), timeout=1)
            probe.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        except OSError:
            return None
        return probe

    def answered(said: bytes) -> socket.socket | None:
        status = said.split(b" ")[1:2]
        if not status:
            return ask()
        if status[0].startswith(b"5"):
            say("The first page answers with an error; the lines above say why.")
        else:
            say(f"Mainstay is ready: {url}")
        return None

    return ask(), answered
