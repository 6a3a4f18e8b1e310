"""How the sign-in library is bent to this house: no sign-up, secrets through the key ring, one idea of "recent"."""

from typing import Any
from urllib.parse import urlsplit

import qrcode  # type: ignore[import-untyped]
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html

from apps.core.keys import KeyRingError
from apps.people.context import client_ip
from apps.people.factors import seal_factor, unseal_factor
from apps.people.guard import message, recently
from apps.people.models import Person
from apps.people.services import record

# What the library would mail is written to the audit log instead: template prefix → verb.
NOTED = {
    "mfa/email/totp_activated": "people.totp_added",
    "mfa/email/totp_deactivated": "people.totp_removed",
    "mfa/email/webauthn_added": "people.passkey_added",
    "mfa/email/webauthn_removed": "people.passkey_removed",
    "mfa/email/recovery_codes_generated": "people.recovery_codes_made",
    "account/email/password_changed": "people.password_changed",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # the library has no types
    """Accounts are made by invitation only; every sign-in and every failure leaves an audit entry."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        """Say things in our words."""
        super().__init__(request)
        self.error_messages: dict[str, Any] = {
            **DefaultAccountAdapter.error_messages,
            "email_password_mismatch": "That e-mail and password do not belong together. Try again.",
            "incorrect_password": "That password is not right. Try again.",
            "enter_current_password": "That is not your current password.",
            "too_many_login_attempts": "Too many tries. Wait five minutes, then try again, or use a passkey.",
            "rate_limited": "Too many tries. Wait a minute, then try again.",
            "account_inactive": "This account is closed. Ask an owner or an admin for a new invitation.",
            "incorrect_code": "That code is not right. Try again.",
            "invalid_login": "That e-mail and password do not belong together. Try again.",
        }

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 the library's signature
        """Return False: nobody signs up by themselves."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that limits count by; 0.0.0.0 for a peer without one (a Unix socket)."""
        return client_ip(request) or "0.0.0.0"  # noqa: S104 a stand-in, nothing binds to it

    def is_reauthentication_required(self, *, app: str, **_: Any) -> bool:  # noqa: ARG002 the library's signature
        """Ask again unless this session saw a password, a code or a passkey within the time-out."""
        return not recently(context.request)

    def reauthenticate(self, user: Person, password: str) -> bool:
        """Check the password of the person who is signed in, counted like a sign-in."""
        found = self.authenticate(context.request, email=user.email, password=password)
        return found is not None and found.pk == user.pk

    def login(self, request: HttpRequest, user: Person) -> None:
        """Start the session and write it down."""
        super().login(request, user)
        record(actor=user, verb="people.signed_in", subject=str(user), subject_id=user.pk)

    def logout(self, request: HttpRequest) -> None:
        """End the session and write it down."""
        if isinstance(request.user, Person):
            record(actor=request.user, verb="people.signed_out", subject=str(request.user), subject_id=request.user.pk)
        super().logout(request)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Write a failed sign-in down. An unknown address is not kept: people type passwords into that field."""
        person = Person.objects.filter(email__iexact=str(credentials.get("email", ""))).first()
        record(
            actor=None,
            verb="people.sign_in_failed",
            subject=str(person) if person else "an unknown address",
            subject_id=person.pk if person else "",
            ip=client_ip(request),
        )

    def respond_user_inactive(self, request: HttpRequest, user: Person) -> HttpResponse:  # noqa: ARG002
        """Tell a person who left, and who knows the password, that the account is closed."""
        return message(
            request,
            title="This account is closed",
            said="Ask an owner or an admin for a new invitation.",
            verb="Go to sign-in",
            url="/signin/",
            status=403,
        )

    def send_notification_mail(self, template_prefix: str, user: Person, *_: Any, **__: Any) -> None:
        """Write changes of somebody's ways to sign in to the audit log."""
        record(
            actor=user, verb=NOTED.get(template_prefix, "people.sign_in_changed"), subject=str(user), subject_id=user.pk
        )

    def send_mail(self, *_: Any, **__: Any) -> None:
        """Send nothing: sign-in needs no mail server here."""


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc] # the library has no types
    """Second factors: secrets lie sealed and bound to their person; passkeys belong to the host of MAINSTAY_URL."""

    error_messages = {  # noqa: RUF012 the library's own attribute
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "That code is not right, or it was used already. Wait for the next one and try again.",
        "cannot_delete_authenticator": "This is your last second step, and it cannot be taken away now.",
        "cannot_generate_recovery_codes": "Recovery codes need a second step. Turn on an app or a passkey first.",
    }

    def encrypt(self, text: str) -> str:
        """Seal a second factor's secret."""
        return seal_factor(text, person_id=_person_id())

    def decrypt(self, encrypted_text: str) -> str:
        """Open a second factor's secret."""
        return unseal_factor(encrypted_text, person_id=_person_id())

    def build_totp_svg(self, url: str) -> str:
        """Return the QR code as inline SVG of one path: no image address and no style, as the page's policy asks."""
        code = qrcode.QRCode(border=2)
        code.add_data(url)
        rows = code.get_matrix()
        dots = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark)
        side = len(rows)
        svg = (
            '<svg viewBox="0 0 {0} {0}" width="220" height="220" shape-rendering="crispEdges">'
            '<rect width="{0}" height="{0}" fill="#fff"/><path d="{1}" fill="#000"/></svg>'
        )
        return format_html(svg, side, dots)

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return the relying party: the host of MAINSTAY_URL, whatever Host header a request carries."""
        return {"id": str(urlsplit(settings.MAINSTAY_URL).hostname), "name": "Mainstay"}

    def generate_authenticator_name(self, user: Person, type: str) -> str:  # noqa: A002 the library's signature
        """Return a name for a new passkey."""
        from allauth.mfa.models import Authenticator  # noqa: PLC0415 models load after adapters

        return f"Passkey {Authenticator.objects.filter(user=user, type=type).count() + 1}"


def _person_id() -> object:
    """Return whose factor is being read: the person signed in, or the one in the middle of signing in."""
    request = context.request
    if request.user.is_authenticated:
        return request.user.pk
    stage = getattr(request, "_login_stage", None)
    if stage is None or stage.login.user is None:
        raise KeyRingError("nobody is signing in")
    return stage.login.user.pk
