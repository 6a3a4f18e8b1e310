"""Testing a connection before anything is saved: a page asks, a worker tries, the row says what was found."""

import json
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from apps.backups.engines import engine_of
from apps.backups.engines.base import Target
from apps.backups.facts import Checkup, EngineTrouble, StoreTrouble, Trouble
from apps.backups.models import ConnectionTest
from apps.backups.services.perform import Clock, unforeseen, worker_died
from apps.backups.stores import store_of
from apps.backups.stores.base import Place
from apps.core.refused import Refused
from apps.core.runs import ring, worker_name
from apps.people.models import Person

log = logging.getLogger(__name__)

AT_ONCE = 3  # the quick worker has four threads, and messages must go out meanwhile
CHECK_SECONDS = 25
PATIENCE = timedelta(seconds=45)  # after which nobody waits for the answer any more
KEPT = timedelta(minutes=10)
_checking = threading.BoundedSemaphore(AT_ONCE)


def ask_check(*, actor: Person, what: Target | Place, now: datetime) -> ConnectionTest:
    """Ask for a test of a source (Target) or a store (Place). Raises Refused while as many as may be are on."""
    with transaction.atomic():
        if ConnectionTest.objects.active().filter(created_at__gt=now - PATIENCE).count() >= AT_ONCE:
            raise Refused(_busy())
        test = ConnectionTest(
            asked_by=actor, side="source" if isinstance(what, Target) else "store", kind=what.kind,
            config=dict(what.config), due_at=now, created_at=now,
        )  # fmt: skip
        test.through = what.through if isinstance(what, Target) else None
        test.secret = json.dumps(dict(what.secret)) if what.secret else None
        test.save(force_insert=True)
        ring(test)
    return test


def check(run_id: str | uuid.UUID, *, clock: Clock = timezone.now) -> None:
    """Claim and do one test; does nothing when it is not due, taken by another worker, settled or forgotten."""
    test = ConnectionTest.claim(run_id, now=clock(), worker=worker_name())
    if test is None:
        return
    try:
        found = _found(_try(test))
    except Trouble as trouble:
        found = {"ok": False, "said": trouble.sentence, "log": list(trouble.log)}
    except Exception as mistake:
        log.exception("the test of a connection failed in a way that was not foreseen")
        found = {"ok": False, "said": unforeseen(mistake).sentence, "log": []}
    test.settle(now=clock(), found=found, config={}, secret=None)


def forget_checks(now: datetime) -> None:
    """Remove the tests that nobody waits for any more, with whatever secret is left in one that no worker took."""
    ConnectionTest.objects.filter(created_at__lt=now - KEPT).delete()


def check_source(target: Target) -> Checkup:
    """Connect to a source and look without changing anything. Raises EngineTrouble with a sentence, in bounded time."""
    late = EngineTrouble(
        f"No answer within {CHECK_SECONDS} seconds. Nothing was changed. Check the address, the port and the firewall.",
        code="timeout",
        permanent=False,
    )
    return _bounded(lambda: engine_of(target.kind).check(target), late)


def check_store(place: Place) -> Checkup:
    """Write, read back, list and delete a small object. Raises StoreTrouble with a sentence, in bounded time."""
    late = StoreTrouble(
        f"The store did not answer within {CHECK_SECONDS} seconds. Check its address and the firewall.",
        code="timeout",
        permanent=False,
    )
    return _bounded(lambda: store_of(place).check(), late)


def _try(test: ConnectionTest) -> Checkup:
    if test.worn_out:
        raise worker_died("test", "Nothing was changed", "test again")
    if test.side == "source":
        return check_source(Target(test.kind, test.config, test.secrets, test.through))
    return check_store(Place(test.kind, test.config, test.secrets))


def _found(checkup: Checkup) -> dict[str, Any]:
    return {
        "ok": True, "said": checkup.sentence, "version": checkup.version, "size": checkup.size,
        "warnings": list(checkup.warnings), "log": [],
    }  # fmt: skip


def _busy() -> str:
    return f"{AT_ONCE} connections are being tested already. Nothing was tried. Wait half a minute, then test again."


def _bounded(look: Callable[[], Checkup], late: Trouble) -> Checkup:
    # The adapters have time-outs of their own; this one holds when an adapter's do not (a hanging mount, a slow DNS).
    def call() -> Checkup:
        try:
            return look()
        finally:
            connection.close()  # this thread's own, if the look opened one
            _checking.release()  # only now: one that hangs goes on taking its place

    if not _checking.acquire(blocking=False):
        raise Trouble(_busy(), code="busy", permanent=False)

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkup")
    try:
        return pool.submit(call).result(timeout=CHECK_SECONDS)
    except TooLate as error:
        raise late from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
