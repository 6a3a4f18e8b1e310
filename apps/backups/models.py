"""The nouns of backups: sources, stores, plans, and the three kinds of work (backup, restore test, restore)."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from apps.backups.engines.base import Target
from apps.backups.itself import own_target
from apps.backups.querysets import (
    BackupQuerySet,
    InspectionQuerySet,
    KeptManager,
    PlanManager,
    RestoreQuerySet,
    RestoreTestQuerySet,
)
from apps.backups.stores.base import Place
from apps.core.fields import EncryptedTextField
from apps.core.ids import uuid7
from apps.core.runs import Recurring, Run


class _WithSecret(models.Model):
    """Settings that may be shown beside settings that are sealed. What is removed keeps its row, without its secret."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=20)
    config = models.JSONField(default=dict)
    secret = EncryptedTextField(null=True)  # JSON object of strings
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # The failure domain: provider, account, region, site. Empty is unknown, and unknown counts as the same.
    domain = models.JSONField(default=dict)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = KeptManager()
    everything: ClassVar[Any] = models.Manager()

    class Meta:
        abstract = True
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(removed_at=None),
                name="%(class)s_name",
                violation_error_message="This name is taken.",
            ),
        ]

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return the opened secret settings. Never put them in a page, a log line or a task."""
        return dict(json.loads(self.secret)) if self.secret else {}


class Source(_WithSecret):
    """What is backed up: a PostgreSQL database, a SQLite file or a directory."""

    class Kind(models.TextChoices):
        """The engines."""

        POSTGRESQL = "postgresql", "PostgreSQL database"
        SQLITE = "sqlite", "SQLite file"
        DIRECTORY = "directory", "Folder"

    kind = models.CharField(max_length=20, choices=Kind.choices)
    is_self = models.BooleanField(default=False)  # Mainstay's own database
    # The server whose gate leads to the database, so that it need not listen to the internet.
    through = models.ForeignKey(
        "servers.Server", null=True, blank=True, on_delete=models.PROTECT, related_name="sources"
    )

    class Meta(_WithSecret.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *_WithSecret.Meta.constraints,
            models.UniqueConstraint(fields=["is_self"], condition=Q(is_self=True), name="source_one_self"),
        ]

    def target(self) -> Target:
        """Return what an engine needs; for Mainstay's own database as the environment says now: no password is kept."""
        if self.is_self:
            return own_target()
        return Target(self.kind, self.config, self.secrets, self.through)


class Store(_WithSecret):
    """Where backups are kept: an S3-compatible bucket or a local folder."""

    class Kind(models.TextChoices):
        """The adapters."""

        S3 = "s3", "S3-compatible bucket"
        LOCAL = "local", "Local folder"

    kind = models.CharField(max_length=20, choices=Kind.choices)
    checked_at = models.DateTimeField(null=True, blank=True)
    trouble = models.TextField(blank=True)  # sentence of the last check that failed; empty is fine
    listed_at = models.DateTimeField(null=True, blank=True)  # when the last two-sided listing was finished
    strangers = models.PositiveIntegerField(default=0)  # objects found there that no backup of ours knows

    def place(self) -> Place:
        """Return what a store adapter needs."""
        return Place(self.kind, self.config, self.secrets)


class Plan(Recurring):
    """One source, to one store, on a schedule, kept for so long, proven so often, owned by a person."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="plans")
    store = models.ForeignKey(Store, on_delete=models.PROTECT, related_name="plans")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="plans")
    schedule = models.JSONField()  # apps.backups.schedule.Schedule.to_json
    time_zone = models.CharField(max_length=64, default="UTC")
    keep_daily = models.PositiveSmallIntegerField(default=7)
    keep_weekly = models.PositiveSmallIntegerField(default=4)
    keep_monthly = models.PositiveSmallIntegerField(default=12)
    keep_yearly = models.PositiveSmallIntegerField(default=0)
    prove_every = models.DurationField(default=timedelta(days=7))
    lock_days = models.PositiveSmallIntegerField(default=0)  # object lock, where the store has it
    goal_loss = models.DurationField(null=True, blank=True)  # the most data that may be lost (RPO)
    goal_back = models.DurationField(null=True, blank=True)  # back within (RTO)
    paused_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True)  # its backups stay in the store, and its rows here
    expected_from = models.DateTimeField(default=timezone.now)  # earlier moments do not count
    proof_due_at = models.DateTimeField(null=True, blank=True, db_index=True)  # when the next restore test is due
    # Kept here by the services so that lists need no subquery; each is written with the run that it tells of.
    last_backup_at = models.DateTimeField(null=True, blank=True)  # when the newest good backup was taken
    last_bytes = models.BigIntegerField(null=True, blank=True)  # its size in the store
    proven_at = models.DateTimeField(null=True, blank=True)  # when the newest proof was finished
    proven_taken_at = models.DateTimeField(null=True, blank=True)  # the moment of the data that it proved
    proven_seconds = models.FloatField(null=True, blank=True)  # measured restore time (RTO)
    proven_rungs = models.PositiveSmallIntegerField(default=0)  # of the latest test, 0 to 7
    failed_rung = models.PositiveSmallIntegerField(null=True, blank=True)  # of the latest test, 1 to 7
    verdict = models.CharField(max_length=12, default="none")  # core.claims.Verdict
    verdict_said = models.TextField(blank=True)  # the worst trouble as a sentence
    verdict_since = models.DateTimeField(null=True, blank=True)
    troubles = models.JSONField(default=list)  # judge.Fault.to_json, the worst first
    judge_at = models.DateTimeField(default=timezone.now, db_index=True)  # when to judge it next

    objects: ClassVar[Any] = PlanManager()
    everything: ClassVar[Any] = models.Manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(removed_at=None),
                name="plan_name",
                violation_error_message="A plan of this name exists.",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["verdict", "verdict_since"], name="plan_verdict")]

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def url(self) -> str:
        """Return the address of its page."""
        return reverse("plan", args=[self.pk])


class Backup(Run):
    """One dump of one plan, taken for one slot, and what is known of the object that it left."""

    task: ClassVar[str] = "backups.perform"
    queue: ClassVar[str] = "heavy"

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="backups")
    slot = models.DateTimeField()
    trigger = models.CharField(max_length=10, default="schedule")  # schedule, person
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    missed = models.PositiveIntegerField(default=0)  # slots that passed meanwhile, caught up by this one
    stage = models.CharField(max_length=40, blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    stage_at = models.DateTimeField(null=True, blank=True)
    store = models.ForeignKey(Store, null=True, on_delete=models.PROTECT, related_name="backups")  # where it went then
    object_key = models.CharField(max_length=300, blank=True)
    size = models.BigIntegerField(null=True, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    version_id = models.CharField(max_length=200, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)
    recipients = models.JSONField(default=list)  # age public keys that can open it
    manifest = models.JSONField(null=True, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)  # the moment of the data
    source_bytes = models.BigIntegerField(null=True, blank=True)
    raw_bytes = models.BigIntegerField(null=True, blank=True)  # of the engine's stream: what the next run expects
    members = models.PositiveIntegerField(null=True, blank=True)  # tables or files in it
    rows = models.BigIntegerField(null=True, blank=True)  # rows of all tables; for a folder, bytes of all files
    timings = models.JSONField(default=dict)  # stage → seconds
    notices = models.JSONField(default=list)  # notices.Notice: what is to be told of a good backup
    trouble_code = models.CharField(max_length=40, blank=True)
    log = models.JSONField(default=list)  # raw lines worth showing, free of secrets
    pruned_at = models.DateTimeField(null=True, blank=True)
    lost_at = models.DateTimeField(null=True, blank=True)  # found missing or changed in the store
    lost_why = models.CharField(max_length=12, blank=True)  # missing, size, version or digest
    proven_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = BackupQuerySet.as_manager()

    class Meta(Run.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["plan", "slot"], name="backup_once_a_slot"),
            models.UniqueConstraint(
                fields=["plan"], condition=Q(state__in=["waiting", "running"]), name="backup_one_at_a_time"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            *Run.Meta.indexes,
            models.Index(fields=["plan", "-slot"], name="backup_history"),
            models.Index(  # what each store holds, counted from the index alone
                fields=["store", "size", "taken_at"],
                name="backup_held",
                condition=Q(state="done", pruned_at=None, lost_at=None),
            ),
        ]

    def __str__(self) -> str:
        """Return the plan and the slot."""
        return f"{self.plan} {self.slot:%Y-%m-%d %H:%M}"


class RestoreTest(Run):
    """One restore of one backup into a scratch place, with its evidence. Attempts are few: a proof is not forced."""

    task: ClassVar[str] = "backups.prove"
    queue: ClassVar[str] = "heavy"
    attempts: ClassVar[int] = 2

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="restore_tests")
    backup = models.ForeignKey(Backup, on_delete=models.CASCADE, related_name="restore_tests")
    trigger = models.CharField(max_length=10, default="schedule")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    stage = models.CharField(max_length=40, blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    stage_at = models.DateTimeField(null=True, blank=True)
    verdict = models.CharField(max_length=12, blank=True)  # proven, failed, unproven; empty while under way
    rungs = models.JSONField(default=list)  # Rung.to_json, in order
    compared = models.JSONField(default=list)  # [member name, recorded count, restored count, digests equal]
    tools = models.JSONField(default=dict)
    compared_total = models.PositiveIntegerField(default=0)  # how many were compared; the list holds at most 2,000
    said = models.TextField(blank=True)  # the verdict as one sentence
    restore_seconds = models.FloatField(null=True, blank=True)  # measured: from opening the object to a usable copy
    data_age_seconds = models.FloatField(null=True, blank=True)  # measured: from the moment of the data to the test
    log = models.JSONField(default=list)

    objects: ClassVar[Any] = RestoreTestQuerySet.as_manager()

    class Meta(Run.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["plan"], condition=Q(state__in=["waiting", "running"]), name="restoretest_one_at_a_time"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            *Run.Meta.indexes,
            models.Index(fields=["plan", "-created_at"], name="restoretest_history"),
        ]

    def __str__(self) -> str:
        """Return the plan and the moment."""
        return f"{self.plan} {self.created_at:%Y-%m-%d %H:%M}"


class Restore(Run):
    """One restore into a new, empty place that an admin named. Never tried twice by itself."""

    task: ClassVar[str] = "backups.restore"
    queue: ClassVar[str] = "heavy"
    attempts: ClassVar[int] = 1

    backup = models.ForeignKey(Backup, on_delete=models.PROTECT, related_name="restores")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    config = models.JSONField(default=dict)  # the target as an engine's Target
    secret = EncryptedTextField(null=True)
    stage = models.CharField(max_length=40, blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    stage_at = models.DateTimeField(null=True, blank=True)
    said = models.TextField(blank=True)
    log = models.JSONField(default=list)

    objects: ClassVar[Any] = RestoreQuerySet.as_manager()

    class Meta(Run.Meta):
        abstract = False

    def __str__(self) -> str:
        """Return the backup."""
        return f"restore of {self.backup}"

    def target(self) -> Target:
        """Return the new place as an engine needs it."""
        kind = (self.backup.manifest or {}).get("engine", self.backup.plan.source.kind)
        return Target(kind, self.config, json.loads(self.secret) if self.secret else {})


class Inspection(Run):
    """The look at one store, done again and again in one row: list it, tell what is lost, prune what may go."""

    task: ClassVar[str] = "backups.inspect"
    queue: ClassVar[str] = "heavy"
    attempts: ClassVar[int] = 1
    every: ClassVar[timedelta] = timedelta(hours=1)  # how long after one look the next is due

    store = models.OneToOneField(Store, on_delete=models.CASCADE, related_name="inspection")
    stage = models.CharField(max_length=40, blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    stage_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = InspectionQuerySet.as_manager()

    class Meta(Run.Meta):
        abstract = False

    def __str__(self) -> str:
        """Return the store."""
        return f"inspection of {self.store}"


class ConnectionTest(Run):
    """One "Test connection": a source or a store as it was typed, and what was found. Its row lives for minutes."""

    task: ClassVar[str] = "backups.check"
    lease: ClassVar[timedelta] = timedelta(minutes=1)
    attempts: ClassVar[int] = 1

    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    side = models.CharField(max_length=6)  # source or store
    through = models.ForeignKey("servers.Server", null=True, on_delete=models.CASCADE, related_name="+")  # of a source
    kind = models.CharField(max_length=20)
    config = models.JSONField(default=dict)
    secret = EncryptedTextField(null=True)  # JSON object of strings; gone as soon as the answer is there
    found = models.JSONField(null=True)  # ok, said, version, size, warnings, log; null until then

    class Meta(Run.Meta):
        abstract = False

    def __str__(self) -> str:
        """Return the side."""
        return f"test of a {self.side}"

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return the opened secret settings."""
        return dict(json.loads(self.secret)) if self.secret else {}


class Leftover(models.Model):
    """The ledger: something that a run leaves in the world, written before it is made, struck out when it is gone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run_id = models.UUIDField(db_index=True)
    kind = models.CharField(max_length=20)
    where = models.TextField()
    deadline = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    def __str__(self) -> str:
        """Return what and where."""
        return f"{self.kind} {self.where}"


class RecoveryKey(models.Model):
    """That the printed recovery key was proven by typing a word of it back; one row a proof."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    fingerprint = models.CharField(max_length=64)  # of the age recipient and every key id: a rotation asks again
    proven_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        """Return the moment."""
        return f"{self.proven_at:%Y-%m-%d}"
