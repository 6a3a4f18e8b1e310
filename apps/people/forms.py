"""What people fill in: their own account, an invitation, a role."""

import struct
from typing import Any
from zoneinfo import available_timezones

from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from apps.people.factors import seal_factor, unseal_factor
from apps.people.models import Person, Role
from apps.people.roles import outranks

ROLE_SAID = {
    Role.OWNER: "Everything, and the recovery key",
    Role.ADMIN: "Plans, restores, channels, people",
    Role.MEMBER: "Reads everything, takes incidents",
    Role.VIEWER: "Reads everything, changes nothing",
}


class NewPasswordForm(forms.Form):
    """A new password, once: the field can be shown, so nobody types it twice."""

    password = forms.CharField(
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters. A sentence is easy to keep.",
        error_messages={"required": "Choose a password."},
    )

    def person(self) -> Person:
        """Return whom the password must not resemble."""
        return Person(email=str(self.data.get("email", "")), name=str(self.data.get("name", "")))

    def clean_password(self) -> str:
        """Refuse short, common and similar passwords."""
        password: str = self.cleaned_data["password"]
        validate_password(password, self.person())
        return password


class JoinForm(NewPasswordForm):
    """A name and a password for who was invited."""

    name = forms.CharField(max_length=80, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))
    field_order: tuple[str, ...] = ("name", "password")


class SetUpForm(JoinForm):
    """The first owner."""

    email = forms.EmailField(
        label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "username"}), help_text="You sign in with it."
    )
    field_order = ("name", "email", "password")

    def clean_email(self) -> str:
        """Keep addresses in one spelling."""
        return str(self.cleaned_data["email"]).lower()


class InviteForm(forms.Form):
    """Whom to invite, and as what."""

    email = forms.EmailField(label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(widget=forms.RadioSelect)

    def __init__(self, *args: Any, actor: Person, **kwargs: Any) -> None:
        """Offer the roles up to the actor's own."""
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = role_choices(actor)  # type: ignore[attr-defined]
        self.fields["role"].initial = Role.MEMBER


class RoleForm(forms.Form):
    """Another role for somebody."""

    role = forms.ChoiceField(widget=forms.RadioSelect)

    def __init__(self, *args: Any, actor: Person, **kwargs: Any) -> None:
        """Offer the roles up to the actor's own."""
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = role_choices(actor)  # type: ignore[attr-defined]


class ProfileForm(forms.Form):
    """One's own name and time zone."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    time_zone = forms.CharField(
        label="Time zone",
        max_length=64,
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
        help_text="Times on every page are shown in it. For example Europe/Berlin.",
    )

    def clean_time_zone(self) -> str:
        """Refuse a zone that is not known here."""
        zone = str(self.cleaned_data["time_zone"]).strip()
        if zone not in available_timezones():
            raise ValidationError("There is no such time zone here. Write it like Europe/Berlin or UTC.")
        return zone


class AuditFilterForm(forms.Form):
    """Which entries of the audit log to show; every field may be empty."""

    who = forms.UUIDField(required=False)
    what = forms.RegexField(r"^[a-z_]+(\.[a-z_]+)?$", required=False, max_length=60)
    q = forms.CharField(required=False, max_length=100)


# What the passkey library raises for an answer of the wrong shape; strangers can send any.
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error)


class _Shape:
    """Turns a passkey answer of the wrong shape into a sentence, where the library would fail with a server error."""

    def clean_credential(self) -> Any:
        """Check who answered."""
        try:
            return super().clean_credential()  # type: ignore[misc] # of the library's form
        except ValidationError:
            raise
        except DAMAGED as error:
            raise get_adapter().validation_error("incorrect_code") from error


class LoginPasskeyForm(_Shape, LoginWebAuthnForm):  # type: ignore[misc] # the library has no types
    """Sign in with a passkey alone."""


class SecondPasskeyForm(_Shape, AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey as the second step."""


class ConfirmPasskeyForm(_Shape, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey to confirm that it is still you."""


class AddTotpForm(ActivateTOTPForm):  # type: ignore[misc]
    """Turn on the authenticator app. Until the first code is right the secret waits in the session: sealed, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a secret for a fresh page; take the one that was shown when a code comes back."""
        self.user = kwargs.pop("user")
        forms.Form.__init__(self, *args, **kwargs)
        session = context.request.session
        kept = session.get(SECRET_SESSION_KEY) if self.is_bound else None
        if kept:
            self.secret = unseal_factor(kept, person_id=self.user.pk)
        else:
            self.secret = generate_totp_secret()
            session[SECRET_SESSION_KEY] = seal_factor(self.secret, person_id=self.user.pk)


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]
    """A passkey signs in alone unless the person says otherwise."""

    name = forms.CharField(required=False, max_length=80)
    passwordless = forms.BooleanField(
        label="Sign in with it alone",
        required=False,
        initial=True,
        help_text="Asks for your fingerprint, face or PIN. Without it the passkey is a second step after the password.",
    )

    def clean(self) -> Any:
        """Check what the browser made."""
        try:
            return super().clean()
        except ValidationError:
            raise
        except DAMAGED as error:
            raise get_adapter().validation_error("incorrect_code") from error


def role_choices(actor: Person) -> list[tuple[str, str]]:
    """Return the roles that the actor may give."""
    return [(role.value, f"{role.label}: {ROLE_SAID[role]}") for role in Role if outranks(actor.role, role)]


def default_zone() -> str:
    """Return the time zone of somebody new."""
    return str(settings.MAINSTAY_TIME_ZONE)
