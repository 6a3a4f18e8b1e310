"""E-mail by SMTP: certificate and name verified, one Message-ID over every try, the server's own answer as receipt."""

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from apps.alerts.channels.base import SECONDS, ChannelError, Outgoing, tidy
from apps.core.outbound import Deadline, dial, network_error, tls_context


class _Smtp(smtplib.SMTP):
    """The standard library's client on a connection that the guard opened."""

    def __init__(self, sock: socket.socket, *, name: str, host: str, seconds: float) -> None:
        self._ready = sock
        super().__init__(host, 1, local_hostname=name, timeout=seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        return self._ready


class Email:
    """A mail server and the people who are written to."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Take host, port, security, user, sender, to, inside, authority from config and `password` from secrets."""
        self.host: str = config["host"]
        self.port = int(config["port"])
        self.security: str = config["security"]  # starttls, tls, none
        self.user: str = config.get("user", "")
        self.sender: str = config["sender"]
        self.to: list[str] = list(config["to"])
        self.inside = bool(config.get("inside"))
        self.authority: str = config.get("authority", "")
        password = secrets.get("password", "")
        self.secrets = {**secrets, "sign-in": f"\0{self.user}\0{password}"} if password else secrets  # as AUTH PLAIN

    def send(self, message: Outgoing) -> str:
        """Hand the mail over; returns the server's answer to the data: a promise to deliver, not a delivery."""
        mail = compose(message, sender=self.sender, to=self.to)
        deadline = Deadline(SECONDS)
        context = tls_context(self.authority)
        wrapped = context if self.security == "tls" else None
        with dial(self.host, self.port, private=self.inside, deadline=deadline, context=wrapped) as sock:
            try:
                return self._talk(sock, mail, context, deadline)
            except (smtplib.SMTPServerDisconnected, ssl.SSLError) as error:
                cause = error if isinstance(error, ssl.SSLError) else ConnectionError()
                raise network_error(cause, where=f"{self.host}:{self.port}", deadline=deadline) from error
            except smtplib.SMTPResponseException as error:
                raise self._refused(error.smtp_code, error.smtp_error) from error
            except smtplib.SMTPException as error:
                raise ChannelError(f"{self.host} does not speak SMTP as expected.") from error

    def _talk(self, sock: socket.socket, mail: EmailMessage, context: ssl.SSLContext, deadline: Deadline) -> str:
        client = _Smtp(sock, name=_own_name(), host=self.host, seconds=deadline.left)
        client.ehlo_or_helo_if_needed()
        if self.security == "starttls":
            if not client.has_extn("starttls"):
                raise ChannelError(
                    f"{self.host} does not offer STARTTLS on port {self.port}. Nothing was sent. "
                    "Choose TLS (usually port 465) or another port.",
                    permanent=True,
                )
            client.starttls(context=context)
            client.ehlo()
        if self.user:
            self._sign_in(client)
        self._expect(client.mail(self.sender), "the sender")
        refused = [(to, answer) for to in self.to if (answer := client.rcpt(to))[0] not in {250, 251}]
        if len(refused) == len(self.to):
            raise self._refused(*refused[0][1])
        receipt = client.data(mail.as_bytes(policy=SMTP_POLICY))
        self._expect(receipt, "the text")
        if refused:
            to, (code, why) = refused[0]
            said = tidy(why, self.secrets)
            raise ChannelError(f"{self.host} refused {to}: {code} {said}. The others were written to.", permanent=True)
        with contextlib.suppress(smtplib.SMTPException, OSError):  # it has the mail; the goodbye does not matter
            client.quit()
        return f"{receipt[0]} {tidy(receipt[1], self.secrets)}"

    def _sign_in(self, client: smtplib.SMTP) -> None:
        try:
            client.login(self.user, self.secrets.get("password", ""))
        except smtplib.SMTPAuthenticationError as error:
            said = tidy(error.smtp_error, self.secrets)
            raise ChannelError(
                f"{self.host} refused the user or the password: {error.smtp_code} {said}",
                permanent=error.smtp_code >= 500,
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise ChannelError(
                f"{self.host} asks for no password on this connection. Leave the user empty, or choose encryption.",
                permanent=True,
            ) from error

    def _expect(self, answer: tuple[int, bytes], what: str) -> None:
        if answer[0] != 250:
            raise self._refused(*answer, what=what)

    def _refused(self, code: int, answer: bytes | str, *, what: str = "the mail") -> ChannelError:
        """4xx may pass by itself, 5xx does not (RFC 5321, section 4.2.1)."""
        return ChannelError(
            f"{self.host} refused {what}: {code} {tidy(answer, self.secrets)}", permanent=500 <= code < 600
        )


def compose(message: Outgoing, *, sender: str, to: list[str]) -> EmailMessage:
    """Return the mail. Header values are made of one line each, so that no text can add a header."""
    mail = EmailMessage(policy=SMTP_POLICY)
    domain = sender.rpartition("@")[2]
    mail["Subject"] = " ".join(message.subject.split())
    mail["From"] = Address("Mainstay", addr_spec=sender)
    mail["To"] = [Address(addr_spec=address) for address in to]
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    if message.incident_id:
        mail["References"] = f"<{message.incident_id}@{domain}>"  # mail programs show an incident as one thread
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(f"{message.text}\n\n{message.url}\n")
    return mail


def _own_name() -> str:
    return urlsplit(settings.MAINSTAY_URL).hostname or "localhost"
