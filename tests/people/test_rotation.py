"""The master key is rotated over every sealed field and over second factors; killed halfway, it goes on."""

import io
import json
from collections.abc import Iterator

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command

from apps.backups.models import Source, Store
from apps.core import rewrap
from apps.core.fields import Sealed
from apps.core.keys import KeyRing, load_ring, new_key, ring_path, save_ring, sealed_with, the_ring, unseal
from apps.people.factors import seal_factor, unseal_factor
from apps.people.models import AuditEntry, AuditHead, Person
from apps.people.services import record, verify_audit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ring_of_its_own() -> Iterator[None]:
    """Put the ring of the test process back afterwards: other tests share it."""
    before = load_ring(ring_path())
    yield
    save_ring(before, ring_path())


@pytest.fixture
def rows(member: Person) -> list[Source | Store]:
    """Make sealed rows in several models, with an empty one, and two second factors."""
    made: list[Source | Store] = [
        Source.objects.create(name=f"db {number}", kind="postgresql", secret=json.dumps({"password": f"pw {number}"}))
        for number in range(5)
    ]
    made += [
        Store.objects.create(name=f"s {number}", kind="s3", secret=json.dumps({"key": str(number)}))
        for number in range(3)
    ]
    Source.objects.create(name="none", kind="directory")
    record(actor=None, verb="test.before", subject="x")
    Authenticator.objects.create(user=member, type="totp", data={"secret": seal_factor("TOTP", person_id=member.pk)})
    Authenticator.objects.create(
        user=member, type="recovery_codes", data={"seed": seal_factor("SEED", person_id=member.pk), "used_mask": 5}
    )
    return made


def keys_in_use() -> set[str]:
    """Return the ids of the master keys that seal anything."""
    return {
        sealed_with(bytes(value))
        for model, field in rewrap.sealed_fields()
        for value in model._base_manager.exclude(**{f"{field.name}__isnull": True}).values_list(field.name, flat=True)
    }


def test_the_walk_knows_every_sealed_field() -> None:
    names = {f"{model._meta.label}.{field.name}" for model, field in rewrap.sealed_fields()}
    assert {"backups.Source.secret", "backups.Store.secret", "people.AuditHead.key"} <= names


def test_a_rotation_seals_everything_anew_and_loses_nothing(rows: list[Source | Store], member: Person) -> None:
    old = the_ring().current.id
    out = io.StringIO()
    call_command("rotatekey", stdout=out)
    new = the_ring().current.id
    assert new != old
    assert the_ring().get(old).state == "decrypt-only"
    assert keys_in_use() == {new}
    assert rewrap.still_sealed_with(old) == 0
    save_ring(KeyRing((the_ring().current,)), ring_path())  # the old key is gone: everything still opens
    assert Source.objects.get(name="db 3").secrets == {"password": "pw 3"}
    assert Store.objects.get(name="s 2").secrets == {"key": "2"}
    data = {row.type: row.data for row in Authenticator.objects.filter(user=member)}
    assert unseal_factor(data["totp"]["secret"], person_id=member.pk) == "TOTP"
    assert unseal_factor(data["recovery_codes"]["seed"], person_id=member.pk) == "SEED"
    assert data["recovery_codes"]["used_mask"] == 5
    record(actor=None, verb="test.after", subject="x")
    assert verify_audit().bad_seq is None
    assert AuditEntry.objects.filter(verb="people.master_key_rotated").count() == 1


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_a_rotation_killed_halfway_goes_on_with_what_is_left(rows: list[Source | Store], batches: int) -> None:
    old = the_ring().current.id
    save_ring(the_ring().rotated(), ring_path())
    seen = []

    def killed(_where: str, done: int) -> None:
        seen.extend([1] if done else [])
        if len(seen) == batches:
            raise KilledError

    with pytest.raises(KilledError):
        rewrap.rewrap_fields(batch=2, told=killed)
    assert keys_in_use() == {old, the_ring().current.id}
    assert Source.objects.get(name="db 4").secrets == {"password": "pw 4"}  # everything opens in between
    assert Source.objects.get(name="db 0").secrets == {"password": "pw 0"}
    before = the_ring().current.id
    call_command("rotatekey", "--resume", stdout=io.StringIO())
    assert the_ring().current.id == before
    assert keys_in_use() == {before}
    assert rewrap.rewrap_fields() == 0


def test_a_row_that_is_written_meanwhile_keeps_its_new_value(
    rows: list[Source | Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_ring(the_ring().rotated(), ring_path())
    done: list[int] = []

    def busy(blob: bytes, *, context: str) -> bytes:
        if not done and context.startswith("backups_source"):
            done.append(1)
            source = Source.objects.get(pk=context.rpartition(":")[2])
            source.secret = json.dumps({"password": "written meanwhile"})
            source.save()
        return unseal(blob, context=context)

    monkeypatch.setattr(rewrap, "unseal", busy)
    rewrap.rewrap_fields()
    assert "written meanwhile" in [source.secrets.get("password") for source in Source.objects.all()]
    assert keys_in_use() == {the_ring().current.id}


def test_a_damaged_value_stops_the_rotation_in_words_and_harms_nothing(rows: list[Source | Store]) -> None:
    row = rows[2]
    closed = bytes(row.__dict__["secret"])
    Source.objects.filter(pk=row.pk).update(secret=Sealed(closed[:-1] + bytes([closed[-1] ^ 1])))
    with pytest.raises(CommandError, match=r"--resume"):
        call_command("rotatekey", stdout=io.StringIO())
    assert Source.objects.get(name="db 0").secrets == {"password": "pw 0"}
    Source.objects.filter(pk=row.pk).update(secret=Sealed(closed))
    call_command("rotatekey", "--resume", stdout=io.StringIO())
    assert keys_in_use() == {the_ring().current.id}


def test_a_ring_that_is_not_this_databases_is_never_rotated(rows: list[Source | Store]) -> None:
    call_command("rotatekey", stdout=io.StringIO())  # marks the keys
    save_ring(KeyRing((new_key(),)), ring_path())
    before = ring_path().read_bytes()
    with pytest.raises(CommandError, match="sealed this database"):
        call_command("rotatekey", stdout=io.StringIO())
    assert ring_path().read_bytes() == before
    assert AuditHead.objects.exists()
