"""Spreads queries over a few connections, the biggest first, while the caller's thread keeps its lease."""

import queue
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import TypeVar

import psycopg

BEAT_SECONDS = 5

Opener = Callable[[], psycopg.Connection]
Seen = Callable[[int, int], None]
Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


def spread(
    items: Sequence[tuple[Item, int]],
    work: Callable[[psycopg.Connection, Item], Result],
    openers: Sequence[Opener],
    seen: Seen,
) -> dict[Item, Result]:
    """Run `work` on every (item, size), one thread a connection; `seen(done, total)` is called every few seconds.

    The first error ends the others' queries and is raised. Connections stay open: they belong to whoever opened them.
    """
    waiting: queue.SimpleQueue[tuple[Item, int]] = queue.SimpleQueue()
    for entry in sorted(items, key=lambda one: -one[1]):
        waiting.put(entry)
    results: queue.SimpleQueue[tuple[Item, int, Result] | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def run(connection: psycopg.Connection) -> None:
        try:
            while not stop.is_set():
                item, size = waiting.get_nowait()
                results.put((item, size, work(connection, item)))
        except queue.Empty:
            results.put(None)
        except BaseException as error:  # noqa: BLE001 handed to the thread that waits
            results.put(error)

    connections = [opener() for opener in openers[: max(1, len(items))]]
    threads = [threading.Thread(target=run, args=(connection,), daemon=True) for connection in connections]
    for thread in threads:
        thread.start()
    found: dict[Item, Result] = {}
    done, total, running = 0, sum(size for _, size in items), len(threads)
    try:
        while running:
            try:
                got = results.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                seen(done, total)
                continue
            if got is None:
                running -= 1
            elif isinstance(got, BaseException):
                raise got
            else:
                found[got[0]] = got[2]
                done += got[1]
    finally:
        stop.set()
        if any(thread.is_alive() for thread in threads):
            for connection in connections:
                with suppress(psycopg.Error, OSError):
                    connection.cancel_safe(timeout=5)
        for thread in threads:
            thread.join(15)
    seen(done, total)
    return found
