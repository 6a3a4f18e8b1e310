"""The audit log: one unbroken chain, whoever writes at once, and a database that refuses to change it."""

import io
import json
import threading

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from apps.people.audit import GENESIS, unguard_sql
from apps.people.models import AuditEntry, AuditHead, Person
from apps.people.services import record, verify_audit


def write(count: int = 3) -> None:
    """Write some entries."""
    for number in range(count):
        record(actor=None, verb="test.wrote", subject=f"thing {number}", subject_id=number, detail={"number": number})


def unguard() -> None:
    """Take the triggers off, as somebody with the database's own rights could."""
    with connection.cursor() as cursor:
        for statement in unguard_sql(connection.vendor):
            cursor.execute(statement)


@pytest.mark.django_db
def test_entries_form_one_chain_from_the_first_on() -> None:
    write()
    rows = list(AuditEntry.objects.order_by("seq"))
    assert [row.seq for row in rows] == [1, 2, 3]
    assert [row.prev_hash for row in rows] == [GENESIS, rows[0].hash, rows[1].hash]
    assert verify_audit().bad_seq is None
    assert verify_audit().count == 3


@pytest.mark.django_db
def test_an_entry_names_its_person_even_after_a_new_name() -> None:
    person = Person.objects.create(email="ann@example.com", name="Ann")
    entry = record(actor=person, verb="test.wrote", subject="x")
    Person.objects.filter(pk=person.pk).update(name="Beth")
    entry.refresh_from_db()
    assert entry.actor_name == "Ann"
    assert verify_audit().bad_seq is None


@pytest.mark.django_db
def test_odd_text_is_kept_and_still_verifies() -> None:
    record(
        actor=None, verb="test.odd", subject="zero\x00 byte \ud800 lone surrogate é", detail={"é": 1e20, "n": "a\x00b"}
    )
    assert verify_audit().bad_seq is None


@pytest.mark.django_db
def test_an_entry_of_a_failed_transaction_leaves_no_gap() -> None:
    write(1)

    def fail() -> None:
        with transaction.atomic():
            write(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    write(1)
    assert list(AuditEntry.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2]
    assert verify_audit().bad_seq is None


@pytest.mark.django_db
@pytest.mark.db
@pytest.mark.parametrize("statement", ["UPDATE people_auditentry SET subject='x'", "DELETE FROM people_auditentry"])
def test_the_database_refuses_to_change_an_entry(statement: str) -> None:
    write()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEntry.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.db
@pytest.mark.parametrize(
    ("statement", "bad", "why"),
    [
        ("UPDATE people_auditentry SET subject='x' WHERE seq=2", 2, "content"),
        ("UPDATE people_auditentry SET actor_name='Eve' WHERE seq=3", 3, "content"),
        ("DELETE FROM people_auditentry WHERE seq=2", 2, "missing"),
        ("DELETE FROM people_auditentry WHERE seq=3", 3, "end"),
        ("UPDATE people_auditentry SET prev_hash='f' WHERE seq=1", 1, "follow"),
        ("UPDATE people_audithead SET seq=2", 3, "end"),
        ("DELETE FROM people_audithead", 1, "head"),
    ],
)
def test_the_first_bad_entry_is_named(statement: str, bad: int, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    unguard()
    with connection.cursor() as cursor:
        cursor.execute(statement)
    verdict = verify_audit()
    assert verdict.bad_seq == bad
    assert why in verdict.why
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("auditverify", stdout=out)
    assert ended.value.code == 1
    assert f"ntry {bad}:" in out.getvalue()


@pytest.mark.django_db
def test_a_tail_cut_off_together_with_its_head_is_found_by_a_head_kept_elsewhere() -> None:
    write()
    out = io.StringIO()
    call_command("auditverify", "--json", stdout=out)
    head = json.loads(out.getvalue())["head"]
    unguard()
    AuditEntry.objects.filter(seq=3).delete()
    last = AuditEntry.objects.get(seq=2)
    AuditHead.objects.update(seq=2, hash=last.hash)
    assert verify_audit().bad_seq is None  # the chain alone cannot see it
    with pytest.raises(SystemExit):
        call_command("auditverify", "--expect", f"{head['seq']}:{head['hash']}", stdout=io.StringIO())


@pytest.mark.django_db(transaction=True)
@pytest.mark.db
def test_many_writers_at_once_make_one_chain(audit_can_be_emptied: None) -> None:
    errors: list[Exception] = []
    start = threading.Barrier(6)

    def work() -> None:
        try:
            start.wait()
            for _ in range(8):
                with transaction.atomic():
                    write(1)
        except Exception as error:  # noqa: BLE001 a thread's error is the test's
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert verify_audit().bad_seq is None
    assert verify_audit().count == 48
