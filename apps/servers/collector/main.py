"""The collector as a process: `./mainstay up` keeps one, `./mainstay manage collect` runs one more anywhere."""

import asyncio
import os
import secrets
import signal
import socket

from apps.servers.collector.loop import Collector


def collect() -> None:
    """Drive servers until SIGTERM or SIGINT."""
    driver = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
    asyncio.run(_until_stopped(driver))


async def _until_stopped(driver: str) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await Collector(driver).run(stopped)
