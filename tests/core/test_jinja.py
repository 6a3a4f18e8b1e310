"""Tests of the frame that every page stands in."""

from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from apps.core.jinja import nav_pages
from apps.people.models import Person, Role


def member(role: str = Role.OWNER) -> Person:
    person: Person = Person.objects.create(email=f"{role}@quillbox.example", name="Mira Okafor", role=role)
    return person


@pytest.mark.django_db
def test_the_frame_stands_and_holds_no_inline_style(client: Client) -> None:
    client.force_login(member())
    body = client.get(reverse("overview")).content.decode()
    assert 'aria-current="page"' in body
    assert "style=" not in body
    assert "onclick=" not in body


@pytest.mark.django_db
def test_a_page_that_is_not_there_says_so_in_the_same_frame(client: Client) -> None:
    client.force_login(member())
    answer = client.get("/no-such-page")
    assert answer.status_code == 404
    assert "There is nothing at this address" in answer.content.decode()
    assert 'class="side"' in answer.content.decode()


@pytest.mark.django_db
def test_a_stranger_sees_no_pages_of_the_house_on_a_wrong_address(client: Client) -> None:
    body = client.get("/no-such-page").content.decode()
    assert "There is nothing at this address" in body
    assert 'class="side"' not in body


@pytest.mark.django_db
def test_a_viewer_is_not_offered_the_audit_log(client: Client) -> None:
    client.force_login(member(Role.VIEWER))
    assert "Audit log" not in client.get(reverse("overview")).content.decode()


def test_every_page_of_the_sidebar_has_an_icon_and_an_action() -> None:
    assert all(page.icon and page.action for page in nav_pages())


def test_the_stylesheets_named_by_the_frame_are_there() -> None:
    base = Path(settings.BASE_DIR / "templates/core/base.html").read_text(encoding="utf-8")
    sheets = {sheet.stem for sheet in Path(settings.BASE_DIR / "static/core").glob("*.css")}
    assert all(f'"{sheet}"' in base for sheet in sheets)
