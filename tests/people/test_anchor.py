"""Heads of the audit chain that are kept outside the database: a chain that was cut and mended is found out."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from apps.people.anchor import EVERY, anchors_path, keep_head, lost_anchor
from apps.people.audit import unguard_sql
from apps.people.models import AuditEntry, AuditHead, Person
from apps.people.services import record, verify_audit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_anchors() -> Iterator[None]:
    """Begin and end without kept heads."""
    anchors_path().unlink(missing_ok=True)
    yield
    anchors_path().unlink(missing_ok=True)


def test_a_tail_cut_off_together_with_its_head_is_noticed(owner: Person, now: datetime) -> None:
    entries = [record(actor=owner, verb="people.tried", subject=f"{n}") for n in range(6)]
    keep_head(now)
    with connection.cursor() as cursor:
        for statement in unguard_sql(connection.vendor):
            cursor.execute(statement)
    AuditEntry.objects.filter(seq__gt=entries[2].seq).delete()
    AuditHead.objects.update(seq=entries[2].seq, hash=entries[2].hash)
    assert verify_audit().bad_seq is None  # the chain alone looks whole
    assert lost_anchor() == entries[-1].seq
    said = StringIO()
    with pytest.raises(SystemExit):
        call_command("auditverify", stdout=said)
    assert "remembers it" in said.getvalue()


def test_heads_are_kept_when_they_moved_and_not_at_every_tick(owner: Person, now: datetime) -> None:
    keep_head(now)
    assert not anchors_path().exists()
    record(actor=owner, verb="people.tried", subject="a")
    keep_head(now)
    record(actor=owner, verb="people.tried", subject="b")
    keep_head(now + timedelta(seconds=10))
    assert len(anchors_path().read_text(encoding="ascii").splitlines()) == 1
    keep_head(now + EVERY)
    keep_head(now + EVERY * 2)
    assert len(anchors_path().read_text(encoding="ascii").splitlines()) == 2
    assert anchors_path().stat().st_mode & 0o077 == 0
    assert lost_anchor() is None


def test_a_line_that_a_crash_cut_off_is_left_out(owner: Person, now: datetime) -> None:
    record(actor=owner, verb="people.tried", subject="a")
    keep_head(now)
    with anchors_path().open("a", encoding="ascii") as file:
        file.write("99 abc 2026-1")
    assert lost_anchor() is None
