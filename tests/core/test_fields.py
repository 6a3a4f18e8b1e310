"""The sealed column: nothing readable in the database, bound to its row, opened only when it is read."""

import copy
import json
import pickle

import pytest
from django.core import serializers
from django.db import connection

from apps.backups.models import Source
from apps.core.fields import Sealed
from apps.core.keys import KeyRingError

pytestmark = [pytest.mark.django_db, pytest.mark.db]
SECRET = "correct horse battery staple"


def source(name: str = "shop", secret: str | None = SECRET) -> Source:
    """Return a saved source with a secret."""
    made: Source = Source.objects.create(name=name, kind="postgresql", secret=secret)
    return made


def raw(row: Source) -> bytes:
    """Return what lies in the database."""
    with connection.cursor() as cursor:
        key = row.pk.hex if connection.vendor == "sqlite" else row.pk
        cursor.execute("SELECT secret FROM backups_source WHERE id = %s", [key])
        return bytes(cursor.fetchone()[0])


def test_the_text_comes_back_and_the_database_does_not_hold_it() -> None:
    row = source()
    assert Source.objects.get(pk=row.pk).secret == SECRET
    assert b"horse" not in raw(row)


def test_none_stays_none_and_empty_stays_empty() -> None:
    assert Source.objects.get(pk=source("a", None).pk).secret is None
    assert Source.objects.get(pk=source("b", "").pk).secret == ""


def test_an_untouched_value_is_written_back_as_it_was() -> None:
    row = Source.objects.get(pk=source().pk)
    before = raw(row)
    row.name = "other"
    row.save()
    assert raw(row) == before
    row.secret = SECRET
    row.save()
    assert raw(row) != before
    assert Source.objects.get(pk=row.pk).secret == SECRET


def test_a_value_moved_to_another_row_does_not_open() -> None:
    one, two = source("one"), source("two", "other")
    with connection.cursor() as cursor:
        key = two.pk.hex if connection.vendor == "sqlite" else two.pk
        cursor.execute("UPDATE backups_source SET secret = %s WHERE id = %s", [raw(one), key])
    moved = Source.objects.get(pk=two.pk)
    with pytest.raises(KeyRingError, match="moved from its row"):
        _ = moved.secret


def test_reading_a_list_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source()
    monkeypatch.setattr("apps.core.fields.unseal", lambda *_a, **_k: pytest.fail("it was opened"))
    assert [row.name for row in Source.objects.all()] == ["shop"]


def test_nothing_shows_it_by_accident() -> None:
    row = Source.objects.get(pk=source().pk)
    assert SECRET not in repr(row.__dict__)
    assert SECRET not in repr(Source.objects.values_list("secret", flat=True)[0])
    with pytest.raises(TypeError, match="never serialised"):
        serializers.serialize("json", [row])
    assert SECRET.encode() not in pickle.dumps(Source.objects.get(pk=row.pk))


def test_a_plain_value_can_be_written_only_through_the_model() -> None:
    row = source()
    with pytest.raises(TypeError, match="through its model"):
        Source.objects.filter(pk=row.pk).update(secret=b"plain")
    with pytest.raises(TypeError):
        Source.objects.filter(secret=b"plain").exists()


def test_bulk_writes_are_sealed_too() -> None:
    Source.objects.bulk_create(
        [Source(name=f"s{number}", kind="sqlite", secret=f"word {number}") for number in range(3)]
    )
    assert sorted(str(row.secret) for row in Source.objects.all()) == ["word 0", "word 1", "word 2"]
    rows = list(Source.objects.order_by("name"))
    with pytest.raises(TypeError, match="through its model"):  # Django hands the opened text to the query: refused
        Source.objects.bulk_update(rows[:1], ["secret"])


def test_a_deferred_value_is_fetched_and_opened() -> None:
    row = Source.objects.defer("secret").get(pk=source().pk)
    assert row.secret == SECRET
    row.refresh_from_db()
    assert row.secret == SECRET


def test_a_copy_of_a_row_takes_the_ciphertext_along() -> None:
    row = Source.objects.get(pk=source().pk)
    assert isinstance(copy.copy(row).__dict__["secret"], Sealed)
    assert json.dumps({"name": row.name})
