"""A real mail server on loopback: plain, STARTTLS or TLS, with sign-in, and with the refusals of the real world."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

BOUNCE = "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy"
USER, PASSWORD = "mainstay", "corr3ct horse"


@dataclass
class MailServer:
    """What a test sees: where it listens, what it took, and how it answers from now on."""

    host: str = "127.0.0.1"
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refuse_data: str = ""  # the answer to the text: a 5xx bounces for good, a 4xx may pass
    refuse_rcpt: str = ""
    authority: str = ""  # PEM of whoever signed its certificate
    sign_ins: int = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 aiosmtpd's name
        if self.refuse_rcpt:
            return self.refuse_rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 aiosmtpd's name
        if self.refuse_data:
            return self.refuse_data
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        return f"250 2.0.0 Ok: queued as {len(self.mails):04d}"

    def check(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        """Take one user with one password, and answer a wrong one as postfix does."""
        self.sign_ins += 1
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mail_server(
    *,
    context: ssl.SSLContext | None = None,
    implicit: bool = False,
    auth: bool = False,
    port: int = 0,
    server: MailServer | None = None,
) -> Iterator[MailServer]:
    """Run a mail server: with `context` it wants STARTTLS, or TLS at once with `implicit`; with `auth` a sign-in."""
    server = server or MailServer()
    server.port = port or free_port()
    options: dict[str, Any] = {"hostname": server.host, "port": server.port, "ident": "test mail server"}
    if context and implicit:
        options["ssl_context"] = context
    elif context:
        options.update(tls_context=context, require_starttls=True)
    if auth:
        options.update(authenticator=server.check, auth_required=True, auth_require_tls=bool(context and not implicit))
    controller = Controller(server, **options)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
