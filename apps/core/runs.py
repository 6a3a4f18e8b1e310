"""The work row: whatever happens later is a row that is claimed by one conditional UPDATE, leased, renewed and settled.

A *run* waits until `due_at`, is claimed by one worker for a lease, and is settled as done or failed. A worker that dies
loses its lease and a successor claims the row again with the next attempt number; a worker that wakes late cannot
overwrite its successor, because it settles only while state and attempt are still its own.
"""

import logging
import os
import socket
import uuid
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, ClassVar, Self, cast

from celery import current_app
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from apps.core.ids import uuid7

log = logging.getLogger(__name__)

RING_AT_ONCE = 200


class State(models.TextChoices):
    """Where a run stands."""

    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class RunQuerySet(models.QuerySet[Any]):
    """Reads that every kind of run shares."""

    def due(self, now: datetime) -> Self:
        """Return the runs that a worker may claim: waiting and due, or running with the lease over."""
        return self.filter(
            Q(state=State.WAITING, due_at__lte=now) | Q(state=State.RUNNING, lease_until__lt=now)
        ).order_by("due_at")

    def active(self) -> Self:
        """Return the runs that are waiting or running."""
        return self.filter(state__in=[State.WAITING, State.RUNNING])


class Run(models.Model):
    """One piece of work as a row. Kinds inherit it; each has a table of its own."""

    task: ClassVar[str]  # the Celery task that takes (id) and performs the run
    queue: ClassVar[str] = "quick"
    lease: ClassVar[timedelta] = timedelta(minutes=2)
    attempts: ClassVar[int] = 3
    backoff: ClassVar[timedelta] = timedelta(minutes=1)  # doubles with each attempt

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    due_at = models.DateTimeField(default=timezone.now)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=120, blank=True)
    error = models.TextField(blank=True)  # a sentence for people; empty unless the last attempt failed

    objects: ClassVar[Any] = RunQuerySet.as_manager()

    class Meta:
        abstract = True
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["state", "due_at"], name="%(class)s_due", condition=Q(state__in=["waiting", "running"])
            ),
        ]

    @classmethod
    def claim(cls, run_id: uuid.UUID | str, *, now: datetime, worker: str) -> Self | None:
        """Take the run for one lease, or return None when it is not due, taken, or settled.

        A run whose worker died with the last attempt is claimed once more with `worn_out` true; its service must then
        clean up and settle it as failed.
        """
        won = (
            cls.objects.due(now)
            .filter(pk=run_id)
            .order_by()
            .update(
                state=State.RUNNING,
                attempt=models.F("attempt") + 1,
                lease_until=now + cls.lease,
                started_at=now,
                finished_at=None,
                worker=worker[:120],
            )
        )
        return cast("Self", cls.objects.get(pk=run_id)) if won else None

    @property
    def worn_out(self) -> bool:
        """Return whether every attempt was already used when this one was claimed (the worker died each time)."""
        return self.attempt > self.attempts

    def renew(self, *, now: datetime, **progress: Any) -> bool:
        """Extend the lease and write progress fields; False when the run is no longer ours and must be left at once."""
        mine = type(self).objects.filter(pk=self.pk, state=State.RUNNING, attempt=self.attempt)
        kept = bool(mine.update(lease_until=now + self.lease, **progress))
        if kept:
            for name, value in progress.items():
                setattr(self, name, value)
        return kept

    def settle(self, *, now: datetime, error: str = "", again: bool = False, **fields: Any) -> bool:
        """Write the end of this attempt, only while state and attempt are still ours.

        Without `error` the run is done. With it, `again` and attempts left the run waits, later each time; else it has
        failed for good. Returns False when a successor owns the run: then nothing was written.
        """
        retry = bool(error) and again and self.attempt < self.attempts
        values: dict[str, Any] = {
            **fields,
            "error": error,
            "lease_until": None,
            "state": State.WAITING if retry else State.FAILED if error else State.DONE,
            "finished_at": now,
        }
        if retry:
            values["due_at"] = now + self.backoff * 2 ** (self.attempt - 1)
        mine = type(self).objects.filter(pk=self.pk, state=State.RUNNING, attempt=self.attempt)
        if not mine.update(**values):
            return False
        for name, value in values.items():
            setattr(self, name, value)
        return True


class RecurringQuerySet(models.QuerySet[Any]):
    """Reads that everything on a schedule shares."""

    def due(self, now: datetime) -> Self:
        """Return the rows whose next moment has come."""
        return self.filter(next_due_at__lte=now).order_by("next_due_at")


class Recurring(models.Model):
    """Something with a next moment. One winner takes each slot, however many ticks look at once."""

    next_due_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects: ClassVar[Any] = RecurringQuerySet.as_manager()

    class Meta:
        abstract = True

    def take_slot(self, following: datetime | None) -> datetime | None:
        """Move on to `following`; the one caller that wins gets the old moment as its slot, every other gets None."""
        seen = self.next_due_at
        if seen is None:
            return None
        if not type(self)._default_manager.filter(pk=self.pk, next_due_at=seen).update(next_due_at=following):  # noqa: SLF001 Django's documented name
            return None
        self.next_due_at = following
        return seen


def worker_name() -> str:
    """Return what a row says of who works on it: machine and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def ring(run: Run) -> None:
    """Tell the workers of one due run once the transaction is written. A dead broker costs a tick, never an error."""
    transaction.on_commit(lambda: _send(type(run), str(run.pk)))


def ring_due(kind: type[Run], now: datetime) -> int:
    """Ring for every due run of a kind and return how many; the oldest first, a bounded number a tick."""
    ids = list(kind.objects.due(now).values_list("pk", flat=True)[:RING_AT_ONCE])
    return sum(takewhile(bool, (_send(kind, str(pk)) for pk in ids)))  # a dead broker is asked once, not 200 times


def _send(kind: type[Run], run_id: str) -> bool:
    try:
        current_app.send_task(kind.task, args=[run_id], queue=kind.queue, expires=60, retry=False, ignore_result=True)
    except Exception as error:  # noqa: BLE001 whatever the broker's client raises, the row stays and the next tick rings again
        log.warning("the broker did not take a message (%s); the work waits in the database", type(error).__name__)
        return False
    return True
