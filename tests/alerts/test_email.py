"""The mail adapter against real mail servers: encryption, sign-in, refusals, and texts that try to become headers."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.alerts.channels import email
from apps.alerts.channels.base import Outgoing
from apps.alerts.channels.email import Email, compose
from apps.core.outbound import OutboundError
from tests.alerts.conftest import mail_config
from tests.conftest import NOW
from tests.servers.smtp import PASSWORD, USER, MailServer, mail_server
from tests.servers.tls import make_certificate

pytestmark = pytest.mark.real


def text(subject: str = "It broke", body: str = "Look.") -> Outgoing:
    return Outgoing(id="m1", kind="opened", subject=subject, text=body, url="https://x.example/i/1", at=NOW)


def send(server: MailServer, *, password: str = "", message: Outgoing | None = None, **config: Any) -> str:
    secrets: Mapping[str, str] = {"password": password}
    return Email(mail_config(server.port, **config), secrets).send(message or text())


def refusal(server: MailServer, **more: Any) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        send(server, **more)
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("implicit", [False, True])
def test_mail_goes_out_encrypted_and_signed_in(tmp_path: Path, implicit: bool) -> None:  # noqa: FBT001
    made = make_certificate(tmp_path, "127.0.0.1")
    with mail_server(context=made.context, implicit=implicit, auth=True) as server:
        security = "tls" if implicit else "starttls"
        receipt = send(server, security=security, user=USER, password=PASSWORD, authority=made.authority)
        assert receipt.startswith("250")
        assert (len(server.mails), server.sign_ins) == (1, 1)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_certificate_of_an_unknown_authority_stops_the_mail_before_the_password(
    tmp_path: Path,
    implicit: bool,  # noqa: FBT001
) -> None:
    made = make_certificate(tmp_path, "127.0.0.1")
    with mail_server(context=made.context, implicit=implicit, auth=True) as server:
        error = refusal(server, security="tls" if implicit else "starttls", user=USER, password=PASSWORD)
        assert "certificate" in str(error)
        assert "not trusted" in str(error)
        assert (server.mails, server.sign_ins) == ([], 0)


def test_a_certificate_for_another_name_stops_the_mail(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "mail.example.com")
    with mail_server(context=made.context) as server:
        error = refusal(server, security="starttls", authority=made.authority)
        assert "not trusted" in str(error)


def test_a_wrong_password_is_named_and_not_tried_again(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "127.0.0.1")
    with mail_server(context=made.context, auth=True) as server:
        error = refusal(server, security="starttls", user=USER, password="wr0ng-secret", authority=made.authority)
        assert error.permanent
        assert "refused the user or the password" in str(error)
        assert "wr0ng-secret" not in str(error)


def test_a_server_without_starttls_gets_neither_password_nor_mail() -> None:
    with mail_server() as server:
        error = refusal(server, security="starttls", user=USER, password=PASSWORD)
        assert "does not offer STARTTLS" in str(error)
        assert server.mails == []


def test_tls_towards_a_port_that_speaks_plainly_gives_a_sentence() -> None:
    with mail_server() as server:
        assert "does not speak TLS" in str(refusal(server, security="tls"))


def test_plain_towards_a_port_that_speaks_tls_gives_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(email, "SECONDS", 0.7)
    made = make_certificate(tmp_path, "127.0.0.1")
    with mail_server(context=made.context, implicit=True) as server:
        assert "127.0.0.1" in str(refusal(server))


def test_a_sign_in_that_the_server_does_not_know_gives_a_sentence() -> None:
    with mail_server() as server:
        assert "asks for no password" in str(refusal(server, user=USER, password=PASSWORD))


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("550 5.1.1 no such user", True), ("450 4.7.1 greylisted, come back", False), ("452 4.2.2 mailbox full", False)],
)
def test_a_refused_recipient_is_permanent_only_with_5xx(answer: str, permanent: bool) -> None:  # noqa: FBT001
    with mail_server() as server:
        server.refuse_rcpt = answer
        error = refusal(server)
        assert error.permanent is permanent
        assert answer[:9] in str(error)


def test_the_private_network_needs_the_switch() -> None:
    with mail_server() as server:
        assert "private network" in str(refusal(server, inside=False))


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_can_add_a_header(subject: str, body: str) -> None:
    mail = compose(text(f"{subject}\r\nBcc: evil@example.com", body), sender="m@example.com", to=["a@example.com"])
    head = mail.as_bytes().split(b"\r\n\r\n", 1)[0]
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in {b" ", b"\t"}]
    assert b"bcc" not in names
    assert sorted(names) == sorted(set(names))


def test_the_date_is_that_of_the_sending(now: datetime) -> None:
    assert compose(text(), sender="m@example.com", to=["a@example.com"])["Date"] == "Mon, 23 Nov 2026 09:41:00 +0000"
