"""Fifty servers on this machine: a round of samples, a minute's worth of polling, and a poll against OpenSSH's own.

Each server is a real gate behind a real sshd on an address of its own (127.0.1.N, sixteen addresses a daemon), so both
sides share the machine's cores. CPU is the panel's alone: of this process, and for OpenSSH of the clients.
"""

import asyncio
import base64
import os
import resource
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from config.bench import apart
from config.bench.figure import Figure
from config.command.say import Refusal

EACH = 16  # addresses of one sshd, which takes no more
PATIENCE = 120.0  # seconds that a round may take


def measure(servers: int = 50, rounds: int = 5) -> Iterator[Figure]:
    """Measure in a process of its own, on an empty Mainstay."""
    yield from apart.figures("config.bench.servers:played", servers=servers, rounds=rounds)


def played(servers: int, rounds: int) -> Iterator[Figure]:
    """Start the servers and measure; all is gone afterwards."""
    try:
        from tests.servers import sshd
    except ImportError as error:
        raise Refusal(f"This bench needs the servers of the tests ({error.name}): run ./mainstay test once.") from error
    if sshd.missing:
        raise Refusal(f"This bench {sshd.WHY}. Nothing was measured.")
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder, ExitStack() as stack:
        made = _servers(Path(folder), servers, stack)
        found = asyncio.run(_rounds(rounds))
        ours = found["cpu"] / rounds / servers
        theirs = _openssh(Path(folder), made, rounds)
    first = "samples of all, connections still to be made"
    yield Figure("servers", f"{servers}: {first}", round(found["first"], 2), "s")
    yield Figure("servers", f"{servers}: samples of all in one round", round(found["round"], 2), "s", runs=rounds)
    yield Figure(
        "servers", "CPU of polling every 60 s, stored", round(found["cpu"] / rounds / 60 * 100, 2), "% of a core"
    )
    yield Figure("servers", "memory of the collector (resident)", round(found["memory"], 1), "MiB")
    yield Figure(
        "servers", "CPU of a poll; baseline: ssh -S … true", round(ours * 1000, 2), "ms", round(theirs * 1000, 2)
    )


async def _rounds(rounds: int) -> dict[str, float]:
    """Let the collector ask everybody: once with facts, then some minutes one after the other."""
    from apps.servers.collector.loop import Collector
    from apps.servers.models import Sample, Server

    collector = Collector("bench")
    now = datetime.now(UTC)
    took = await _took(collector, now)
    spent, times = 0.0, []
    for minute in range(1, rounds + 1):
        moment = now + timedelta(minutes=minute)
        await asyncio.to_thread(Server.objects.update, next_sample_at=moment)
        before = _cpu()
        times.append(await _took(collector, moment))
        spent += _cpu() - before
    wanted = len(collector.seats) * (rounds + 1)
    stored = await asyncio.to_thread(Sample.objects.filter(step=60).count)
    failed = await asyncio.to_thread(
        lambda: list(Server.objects.exclude(failure="").values_list("failure_said", flat=True))
    )
    memory = _resident()
    await collector.close()
    if stored != wanted or failed:
        raise Refusal(f"{stored} of {wanted} samples were stored; {failed[:1]}")
    return {"first": took, "round": sorted(times)[len(times) // 2], "cpu": spent, "memory": memory}


async def _took(collector: Any, moment: datetime) -> float:
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        await collector.look(moment)
        await collector.settled()
    return time.monotonic() - began


def _servers(folder: Path, count: int, stack: ExitStack) -> list[tuple[str, int, Path]]:
    """Start the daemons, install a gate for each server and write its rows; return where each is and its key's file."""
    from apps.servers.gate import wire
    from apps.servers.models import HostKey, Server
    from tests.servers import sshd

    made = []
    now = datetime.now(UTC)
    for first in range(0, count, EACH):
        numbers = range(first, min(first + EACH, count))
        users = tuple(f"s{number}" for number in numbers)
        addresses = [f"127.0.1.{number + 1}" for number in numbers]
        place = folder / f"sshd-{first}"
        running = stack.enter_context(sshd.sshd(place, users=("mainstay", *users), addresses=addresses))
        lines = []
        for number, address in zip(numbers, addresses, strict=True):
            server = uuid.uuid4()
            private, public = wire.new_pair()
            home = folder / f"server-{number}"
            home.mkdir()
            gate = sshd.gate(home, server=str(server), public_key=public)
            lines.append(f'restrict,command="{gate}" {public}')
            row = Server.objects.create(
                id=server, name=f"server-{number}", address=address, port=running.port, private_key=private,
                public_key=public, next_sample_at=now, next_facts_at=now + timedelta(days=1),
            )  # fmt: skip
            ((kind, blob),) = running.host_keys
            prints = wire.fingerprint(base64.b64decode(blob))
            HostKey.objects.create(server=row, type=kind, blob=blob, fingerprint=prints, state="pinned")
            key = home / "key"
            key.touch(mode=0o600)
            key.write_text(private)
            running.authorize(f"s{number}", f"restrict {public}")  # for OpenSSH's client, whose command is `true`
            made.append((address, running.port, key))
        running.authorize("mainstay", *lines)
    return made


def _openssh(folder: Path, made: list[tuple[str, int, Path]], rounds: int) -> float:
    """Return the CPU seconds of one `ssh` that runs `true` over a connection that is kept (ControlMaster)."""
    common = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-F",
        "none",
    ]
    masters, calls = [], []
    for number, (address, port, key) in enumerate(made[:8]):
        path = folder / f"m{number}"
        words = ["ssh", *common, "-S", str(path), "-p", str(port), "-i", str(key), f"s{number}@{address}"]
        masters.append(subprocess.Popen([*words[:1], "-M", "-N", *words[1:]], stdin=subprocess.DEVNULL))
        calls.append(words)
    try:
        for words in calls:
            _until_connected(Path(words[words.index("-S") + 1]))
        # the master's share of the work is in the master: it is read from /proc, the clients' from their end
        before = [_cpu_of(master.pid) for master in masters]
        clients = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(rounds):
            for words in calls:
                subprocess.run([*words, "true"], check=True, stdin=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = sum(_cpu_of(master.pid) - was for master, was in zip(masters, before, strict=True))
        spent += after.ru_utime + after.ru_stime - clients.ru_utime - clients.ru_stime
    finally:
        for master in masters:
            master.kill()
            master.wait()
    return spent / (rounds * len(calls))


def _until_connected(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > until:
            raise Refusal("OpenSSH's own client did not connect, so there is nothing to compare with.")
        os.sched_yield()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
