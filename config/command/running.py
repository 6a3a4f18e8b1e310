"""Runs the tools of check and test side by side: output kept together, one line each on how it went."""

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.command.say import say

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / ".venv" / "bin"


@dataclass(frozen=True, slots=True)
class Job:
    """One tool: its name on screen, its words, and what its environment has beside ours."""

    name: str
    words: Sequence[str]
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float

    def told(self) -> bool:
        """Say how it went, with its output when it failed; return whether it went well."""
        code = self.process.wait()
        took = time.monotonic() - self.began
        say(f"{'ok ' if code == 0 else 'BAD'}  {self.job.name}  ({took:.0f} s)")
        with self.output:
            if code:
                self.output.seek(0)
                say(self.output.read().decode(errors="replace").rstrip())
        return code == 0


def side_by_side(lanes: Sequence[Sequence[Job]]) -> bool:
    """Run each lane's jobs one after another and the lanes at once; return whether all went well."""
    well = True
    with selectors.DefaultSelector() as selector:
        for lane in lanes:
            _next(list(lane), selector)
        while selector.get_map():
            for key, _ in selector.select():
                running, lane = key.data
                selector.unregister(key.fd)
                os.close(key.fd)
                well = running.told() and well
                _next(lane, selector)
    return well


def _next(lane: list[Job], selector: selectors.BaseSelector) -> None:
    if not lane:
        return
    job = lane.pop(0)
    output = tempfile.TemporaryFile()  # noqa: SIM115 read when the tool has ended
    process = subprocess.Popen(
        job.words, cwd=ROOT, env={**os.environ, **job.more}, stdout=output, stderr=subprocess.STDOUT
    )
    running = _Running(job, process, output, time.monotonic())
    selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, (running, lane))
