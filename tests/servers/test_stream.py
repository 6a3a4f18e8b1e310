"""Answers that are streams: whole, no faster than they are taken, and cut off is never whole."""

import asyncio
from typing import Any

import pytest

from apps.servers.ssh import line
from tests.servers.sshd import WHY, missing
from tests.servers.test_ssh import GREET, KILL_SSHD, hostile, run, server, trouble

__all__ = ["hostile", "server"]  # fixtures

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing, reason=WHY)]


def test_a_stream_comes_whole_and_no_faster_than_it_is_taken(hostile: Any) -> None:
    body = GREET + "greet(); sys.stdin.readline()\nfor _ in range(640): sys.stdout.buffer.write(b'x' * 65536)"
    one = hostile(body)

    async def take() -> tuple[int, int]:
        kept = line.Line(one)
        size = most = 0
        async with kept.stream("hello") as parts:
            async for part in parts:
                size += len(part)
                most = max(most, len(part))
                await asyncio.sleep(0)
        await kept.close()
        return size, most

    size, most = run(take())
    assert size == 640 * 65536
    assert most < 4 * 1024 * 1024


def test_a_stream_that_is_cut_off_is_no_stream(hostile: Any) -> None:
    one = hostile(f"{GREET}greet(); sys.stdin.readline(); print('x' * 999, flush=True); {KILL_SSHD}")

    async def take() -> None:
        kept = line.Line(one)
        async with kept.stream("hello") as parts:
            async for _ in parts:
                pass

    trouble(take(), "closed")
