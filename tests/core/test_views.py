"""Health, and reports of the content security policy."""

import json
import logging
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from apps.core.models import Pulse
from apps.core.pulse import beat


@pytest.mark.django_db
def test_health_says_that_the_database_answers_to_anyone(client: Client) -> None:
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"database": True, "broker": True, "watching": False}


@pytest.mark.django_db
def test_health_is_503_when_the_ticks_ended(client: Client) -> None:
    beat(timezone.now())
    response = client.get("/healthz")
    assert (response.status_code, response.json()["watching"]) == (200, True)
    Pulse.objects.update(at=timezone.now() - timedelta(minutes=3))
    response = client.get("/healthz")
    assert (response.status_code, response.json()["watching"]) == (503, False)


@pytest.mark.django_db
def test_health_is_503_without_a_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise OperationalError("the database has gone, said with a password")

    monkeypatch.setattr(connection, "cursor", gone)
    response = client.get("/healthz")
    assert response.status_code == 503
    assert "password" not in response.content.decode()


def report(**fields: object) -> str:
    """Return a report as browsers send it."""
    return json.dumps({"csp-report": fields})


def test_a_report_is_one_line_without_the_query_of_the_page(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    body = report(**{
        "document-uri": "http://testserver/backups?token=abc#x",
        "effective-directive": "style-src-attr",
        "blocked-uri": "inline",
    })  # fmt: skip
    with caplog.at_level(logging.WARNING, "apps.core.views"):
        assert client.post("/csp-report", body, content_type="application/csp-report").status_code == 204
    assert "'http://testserver/backups' 'style-src-attr' 'inline'" in caplog.text
    assert "token" not in caplog.text


def test_a_report_cannot_forge_a_log_line(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    body = report(**{"document-uri": "x\n2026-01-01 ERROR forged", "blocked-uri": "y" * 900})
    with caplog.at_level(logging.WARNING, "apps.core.views"):
        client.post("/csp-report", body, content_type="application/csp-report")
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 700


@pytest.mark.parametrize("body", ["", "[]", "null", "{}", '{"csp-report": 7}', "\xff", "{" * 9000, "x" * 20000])
def test_a_report_that_is_none_changes_nothing(client: Client, caplog: pytest.LogCaptureFixture, body: str) -> None:
    assert client.post("/csp-report", body, content_type="application/csp-report").status_code == 204
    assert not caplog.records


def test_a_report_by_get_is_refused(client: Client) -> None:
    assert client.get("/csp-report").status_code == 405
