"""The commands of the console: the first owner, and who is locked out."""

import io
import re
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from apps.people.models import Link, Person

pytestmark = pytest.mark.django_db


def run() -> str:
    """Run firstadmin and return what it printed."""
    out = io.StringIO()
    call_command("firstadmin", stdout=out, stderr=out)
    return out.getvalue()


def test_without_any_environment_a_link_is_printed_until_there_is_an_owner(settings: Settings) -> None:
    settings.MAINSTAY_URL = "https://mainstay.example.com"
    first, second = run(), run()
    links = [
        re.search(r"^https://mainstay\.example\.com/setup/([\w-]{40,})/$", text, re.MULTILINE)
        for text in (first, second)
    ]
    assert links[0]
    assert links[1]
    assert links[0][1] != links[1][1]
    assert Link.objects.count() == 1
    Person.objects.create(email="a@example.com", role="owner")
    assert run() == ""


def test_the_environment_makes_the_owner_and_prints_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.ADMIN_EMAIL = "root@example.com"
    file = tmp_path / "password"
    file.write_text("from a file, with words\n")
    monkeypatch.setenv("ADMIN_PASSWORD_FILE", str(file))
    assert run() == ""
    person = Person.objects.get()
    assert person.check_password("from a file, with words")
    file.write_text("another one, with words\n")
    assert run() == ""
    person.refresh_from_db()
    assert person.check_password("from a file, with words")


def test_a_weak_password_of_the_environment_is_not_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ADMIN_EMAIL = "root@example.com"
    monkeypatch.setenv("ADMIN_PASSWORD", "admin")
    said = run()
    assert "ADMIN_PASSWORD was not used" in said
    assert "admin'" not in said
    assert "/setup/" in said
    assert not Person.objects.exists()
