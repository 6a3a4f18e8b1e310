"""The collector as a process: `./mainstay up` keeps one, `./mainstay manage collect` runs one more anywhere."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket

from django.db import DatabaseError, close_old_connections

from apps.servers.models import Server

IDLE = 20.0  # seconds between two looks whether there is a server at all


def collect() -> None:
    """Drive servers until SIGTERM or SIGINT."""
    driver = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
    asyncio.run(_until_stopped(driver))


async def _until_stopped(driver: str) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    while not await asyncio.to_thread(_any_server):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), IDLE)
            return
    from apps.servers.collector.loop import Collector  # noqa: PLC0415 15 MB that nobody without a server pays

    await Collector(driver).run(stopped)


def _any_server() -> bool:
    try:
        close_old_connections()
        return bool(Server.objects.exists())
    except DatabaseError:
        return False  # it is not there yet, or away; the next look asks again
