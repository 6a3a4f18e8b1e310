"""Every read of the backups room, named for the page or the judge that needs it."""

from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any, Self

from django.db import models
from django.db.models import Count, Exists, Max, OuterRef, Q, Sum

from apps.backups.judge import AHEAD, MOST_GRACE
from apps.core.runs import RecurringQuerySet, RunQuerySet


class KeptManager(models.Manager[Any]):
    """Hides what a person removed; `everything` shows it."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return what was not removed."""
        return super().get_queryset().filter(removed_at=None)

    def for_list(self) -> Any:
        """Return the sources or stores by name, each with `used`: how many plans use it."""
        return self.annotate(used=Count("plans", filter=Q(plans__removed_at=None))).order_by("name")


class PlanQuerySet(RecurringQuerySet):
    """Reads of plans."""

    def live(self) -> Self:
        """Return the plans that are not paused."""
        return self.filter(paused_at=None, removed_at=None)

    def for_page(self) -> Self:
        """Return the plans with what a page names: source, store and owner."""
        return self.select_related("source", "store", "owner")

    def names(self, most: int) -> list[str]:
        """Return the first names, sorted."""
        return list(self.order_by("name").values_list("name", flat=True)[:most])

    def fresh_proof(self, now: datetime) -> Q:
        """Return the condition of a proof younger than its plan's policy.

        One clause for each policy in use: few, and an index or a plain comparison serves them on every database, where
        arithmetic on a column would call Python once a row on SQLite.
        """
        policies = self.model.objects.order_by().values_list("prove_every", flat=True).distinct()
        clauses = (Q(prove_every=every, proven_at__gte=now - every - MOST_GRACE) for every in policies)
        return reduce(or_, clauses, Q(pk__in=[])) & Q(proven_at__lte=now + AHEAD)

    def proven(self, now: datetime) -> Q:
        """Return the condition of a proven plan, as all pages count it: a fresh proof, not refuted by a later test."""
        return Q(failed_rung=None) & self.fresh_proof(now)

    def proof_due(self, now: datetime) -> Self:
        """Return the plans whose restore test is due and that have something to restore, the longest due first."""
        return (
            self.live()
            .filter(last_backup_at__isnull=False)
            .filter(Q(proof_due_at__lte=now) | Q(proof_due_at=None) | Q(proven_at__gt=now + timedelta(hours=1)))
            .order_by("proof_due_at")
        )

    def idle(self) -> Self:
        """Return the plans with no backup and no restore test under way."""
        active = Q(state__in=["waiting", "running"])
        return self.filter(
            ~Exists(self.model.backups.rel.related_model.objects.filter(active, plan=OuterRef("pk"))),
            ~Exists(self.model.restore_tests.rel.related_model.objects.filter(active, plan=OuterRef("pk"))),
        )

    def for_judge(self) -> Self:
        """Return the plans with everything that their judgement needs, in a fixed number of queries."""
        return self.select_related("source", "store", "owner")

    def to_judge(self, now: datetime) -> Self:
        """Return the plans whose judgement is due, with what it needs, the longest due first."""
        # Far ahead of now was written while the clock was wrong.
        due = Q(judge_at__lte=now) | Q(judge_at__gt=now + timedelta(hours=1))
        return self.for_judge().filter(due).order_by("judge_at")

    def at_risk(self) -> Self:
        """Return the plans that need a person, the worst first."""
        return self.filter(verdict__in=["bad", "warn"]).order_by("verdict", "verdict_since")


class PlanManager(models.Manager.from_queryset(PlanQuerySet)):  # type: ignore[misc]  # django-stubs cannot see the class it makes
    """Hides removed plans; `everything` shows them."""

    def get_queryset(self) -> Any:
        """Return what was not removed."""
        return super().get_queryset().filter(removed_at=None)


class BackupQuerySet(RunQuerySet):
    """Reads of backups."""

    def good(self) -> Self:
        """Return the backups that were finished and are still in their store, as far as is known; newest first."""
        return self.filter(state="done", pruned_at=None, lost_at=None).order_by("-taken_at")

    def since(self, at: datetime) -> Self:
        """Return the backups of slots from a moment on."""
        return self.filter(slot__gte=at)

    def before(self, at: datetime | None) -> Self:
        """Return the backups of earlier slots, all without a moment, newest first."""
        return (self if at is None else self.filter(slot__lt=at)).order_by("-slot")

    def failed_or_lost(self) -> Self:
        """Return the backups that failed or are not in their store any more."""
        return self.filter(Q(state="failed") | Q(lost_at__isnull=False))

    def held(self) -> dict[str, Any]:
        """Return what a plan's row says of these backups, read again after one was lost or found: newest and proven.

        A claim never stands on an object that is gone: what is left proven, with the age of that proof, or nothing.
        """
        newest = self.good().first()
        proven = self.good().exclude(proven_at=None).first()
        return {
            "last_backup_at": newest.taken_at if newest else None,
            "last_bytes": newest.size if newest else None,
            "proven_at": proven.proven_at if proven else None,
            "proven_taken_at": proven.taken_at if proven else None,  # data that is gone was proven for nothing
        }

    def by_store(self) -> dict[Any, dict[str, Any]]:
        """Return store id → number, size and newest of the good backups there; the index `backup_held` has it all."""
        held = self.good().order_by().values("store")
        held = held.annotate(number=Count("*"), size=Sum("size"), newest=Max("taken_at"))
        return {row["store"]: row for row in held}

    def lost_by_store(self) -> dict[Any, int]:
        """Return store id → how many backups are missing or changed there."""
        lost = self.catalogued().filter(lost_at__isnull=False).order_by().values("store").annotate(number=Count("*"))
        return {row["store"]: row["number"] for row in lost}

    def catalogued(self) -> Self:
        """Return the backups that should be in their store, lost ones too."""
        return self.filter(state="done", pruned_at=None).exclude(object_key="")

    def ended(self) -> Self:
        """Return the backups that ended by themselves, newest first: one that a person stopped says nothing."""
        return self.filter(state__in=["done", "failed"]).exclude(trouble_code="stopped").order_by("-slot")

    def lost_since(self, proven_taken_at: datetime | None) -> Self:
        """Return the lost backups that nothing has made up for: no backup taken after the loss was proven since."""
        lost = self.catalogued().filter(lost_at__isnull=False)
        return lost.filter(lost_at__gte=proven_taken_at) if proven_taken_at else lost


class RestoreTestQuerySet(RunQuerySet):
    """Reads of restore tests."""

    def settled(self) -> Self:
        """Return the tests that came to a verdict: of the newest data first, of one backup the newest test first."""
        return self.exclude(verdict="").order_by("-backup__taken_at", "-created_at")

    def since(self, at: datetime) -> Self:
        """Return the tests made from a moment on."""
        return self.filter(created_at__gte=at)

    def before(self, at: datetime | None) -> Self:
        """Return the tests made earlier, all without a moment, newest first."""
        return (self if at is None else self.filter(created_at__lt=at)).order_by("-created_at")

    def failed(self) -> Self:
        """Return the tests that broke and those that proved that a backup does not come back."""
        return self.filter(Q(state="failed") | Q(verdict="failed"))

    def measured(self) -> Self:
        """Return the proofs whose restore was timed, newest first."""
        return self.filter(verdict="proven", restore_seconds__isnull=False).order_by("-created_at")

    def of_data(self, taken_at: datetime) -> Self:
        """Return the tests that proved the data of one moment."""
        return self.filter(verdict="proven", backup__taken_at=taken_at)


class RestoreQuerySet(RunQuerySet):
    """Reads of restores."""

    def of_plan(self, plan: Any) -> Self:
        """Return the restores of a plan's backups."""
        return self.filter(backup__plan=plan)


class InspectionQuerySet(RunQuerySet):
    """Reads of the looks at stores."""

    def ended(self) -> Self:
        """Return the looks that are not under way."""
        return self.filter(state__in=["done", "failed"])

    def under_way(self) -> dict[Any, Any]:
        """Return store id → the look at it that waits or runs."""
        return {look.store_id: look for look in self.active()}
