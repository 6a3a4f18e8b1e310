"""What people fill in: a channel of each kind, a note, and the filter of the incidents."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from apps.alerts.channels.slack import HOSTS
from apps.alerts.channels.webhook import new_key
from apps.alerts.models import Channel
from apps.core.outbound import OutboundError, parse, tls_context

RETYPE = "Type it again: a secret is never sent back to the browser."
MOST_RECIPIENTS = 20
PORT = "Write a port from 1 to 65535; mail servers use 587 for STARTTLS and 465 for TLS."


class ChannelForm(forms.Form):
    """What every kind of channel has; `parts` returns what to keep, with the secrets that stay as they are."""

    SECRETS: ClassVar[tuple[str, ...]] = ()
    ORDER: ClassVar[tuple[str, ...]] = ()

    name = forms.CharField(
        max_length=80,
        help_text="As it stands on the pages: “Mail to the team”, “Slack #ops”.",
        error_messages={"required": "Give the channel a name."},
    )
    inside = forms.BooleanField(
        required=False,
        label="It is inside my network",
        help_text="Only then may the address lead to a private range. Cloud metadata services are never reached.",
    )

    def __init__(self, *args: Any, known: Channel | None = None, **kwargs: Any) -> None:
        """Take the channel that is changed, if one is."""
        self.known = known
        if known is not None:
            kwargs["initial"] = {**self.initial_of(known), **kwargs.get("initial", {})}
        super().__init__(*args, **kwargs)
        self.order_fields(self.ORDER)
        for name in self.SECRETS if known is not None else ():
            self.fields[name].required = False
            self.fields[name].help_text = "Leave empty to keep the present one. It is never shown again."

    def initial_of(self, known: Channel) -> dict[str, Any]:
        """Return what may be shown of a channel."""
        return {"name": known.name, **known.config}

    def clean_name(self) -> str:
        """Refuse a name that another channel has."""
        name: str = self.cleaned_data["name"]
        same = Channel.objects.kept().filter(name=name)
        if (same.exclude(pk=self.known.pk) if self.known else same).exists():
            raise ValidationError("Another channel has this name. Choose another.")
        return name

    def clean(self) -> dict[str, Any]:
        """Refuse characters that nobody types."""
        for name, value in list(self.cleaned_data.items()):
            if name not in {"authority", "to"} and isinstance(value, str) and any(map(_is_control, value)):
                self.add_error(name, "There is a character in here that cannot be typed. Write it again by hand.")
        return self.cleaned_data

    def parts(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return (config, secrets) to keep or to try. Only after `is_valid`."""
        raise NotImplementedError

    def kept(self, name: str) -> str:
        """Return what was typed into a secret field, or what is kept."""
        typed: str = self.cleaned_data.get(name) or ""
        return typed or (self.known.secrets.get(name, "") if self.known else "")

    def ask_again(self) -> None:
        """Say on each secret that was typed that it must be typed again, before the page shows the form again."""
        for name in self.SECRETS:
            if self.data.get(self.add_prefix(name)) and not self.errors.get(name):
                self.add_error(name, RETYPE)


class EmailForm(ChannelForm):
    """A mail server and whom to write to."""

    SECRETS = ("password",)
    ORDER = ("name", "to", "host", "port", "security", "user", "password", "sender", "inside", "authority")

    to = forms.CharField(
        label="Write to",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="E-mail addresses, one a line or with commas.",
        error_messages={"required": "Write at least one e-mail address."},
    )
    host = forms.CharField(
        label="Mail server",
        max_length=253,
        help_text="Such as smtp.example.com",
        error_messages={"required": "Write the name of the mail server, such as smtp.example.com."},
    )
    port = forms.IntegerField(
        min_value=1,
        max_value=65535,
        initial=587,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        help_text="587 for STARTTLS, 465 for TLS",
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), PORT),
    )
    security = forms.ChoiceField(
        label="Encryption",
        choices=[("starttls", "STARTTLS"), ("tls", "TLS from the start"), ("none", "None")],
        initial="starttls",
    )
    user = forms.CharField(
        label="User",
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="Empty if the server asks for none.",
    )
    password = forms.CharField(
        max_length=500, required=False, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )
    sender = forms.CharField(
        label="From",
        max_length=200,
        help_text="An address the server may send for.",
        error_messages={"required": "Write the address that the mail comes from, one the server may send for."},
    )
    authority = forms.CharField(
        label="Certificate authority",
        required=False,
        max_length=20000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="In PEM, only if the server's certificate comes from an authority of your own.",
    )

    def initial_of(self, known: Channel) -> dict[str, Any]:
        """Show the addresses one a line."""
        return {**super().initial_of(known), "to": "\n".join(known.config.get("to", []))}

    def clean_to(self) -> list[str]:
        """Take the addresses apart and check each."""
        found = list(dict.fromkeys(part for part in re.split(r"[\s,;]+", self.cleaned_data["to"]) if part))
        if len(found) > MOST_RECIPIENTS:
            raise ValidationError(f"At most {MOST_RECIPIENTS} addresses. Use a mailing list for more.")
        for address in found:
            _check_address(address)
        if not found:
            raise ValidationError("Write at least one address.")
        return found

    def clean_sender(self) -> str:
        """Check the sender's address."""
        sender: str = self.cleaned_data["sender"]
        _check_address(sender)
        return sender

    def clean_host(self) -> str:
        """Take a bare host name."""
        host: str = self.cleaned_data["host"].lower()
        if any(sign in host for sign in "/@ \\?#%"):
            raise ValidationError("Only the name of the server, without “://” and without a path.")
        return host

    def clean_authority(self) -> str:
        """Refuse what is no certificate."""
        authority: str = self.cleaned_data["authority"].strip()
        try:
            tls_context(authority)
        except OutboundError as error:
            raise ValidationError(str(error)) from error
        return authority

    def clean(self) -> dict[str, Any]:
        """Keep the password from travelling in the clear, and from a server it was not given to."""
        data = super().clean()
        password = self.kept("password")
        if not data.get("user") and data.get("password"):
            self.add_error("user", "A password needs a user.")
        if data.get("user") and not password:
            self.add_error("password", "Write the password of this user.")
        if data.get("user") and data.get("security") == "none" and not data.get("inside"):
            self.add_error(
                "security", "Without encryption the password could be read on its way. Choose STARTTLS or TLS."
            )
        if self.known and data.get("user") and not data.get("password") and not self.errors:
            moved = any(self.known.config.get(name) != data.get(name) for name in ("host", "port", "security"))
            if moved:
                self.add_error("password", "The server is another one now. Type the password for it.")
        return data

    def parts(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the settings."""
        names = ("host", "port", "security", "user", "sender", "to", "inside", "authority")
        config = {name: self.cleaned_data[name] for name in names}
        return config, {"password": self.kept("password")} if config["user"] else {}


class _UrlForm(ChannelForm):
    """A channel whose address is its secret."""

    SECRETS = ("url",)

    def clean_url(self) -> str:
        """Check the address without asking anybody."""
        url: str = self.cleaned_data["url"].strip()
        if not url:
            return ""
        try:
            parse(url)
        except OutboundError as error:
            raise ValidationError(str(error)) from error
        return url

    def clean(self) -> dict[str, Any]:
        """Ask for encryption where the address leaves the network."""
        data = super().clean()
        url = data.get("url") or ""
        if url and not parse(url).secure and not data.get("inside"):
            self.add_error("url", "The address must start with https://, or be inside your network.")
        return data

    def config(self) -> dict[str, Any]:
        """Return the host, which may be shown, and whether it is inside."""
        return {"host": parse(self.kept("url")).host, "inside": self.cleaned_data["inside"]}


class SlackForm(_UrlForm):
    """A Slack incoming webhook."""

    ORDER = ("name", "url", "inside")

    url = forms.CharField(
        label="Webhook address",
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="From Slack: Apps, Incoming Webhooks. It starts with https://hooks.slack.com/ and is a secret.",
        error_messages={"required": "Paste the address that Slack shows under Incoming Webhooks."},
    )

    def clean(self) -> dict[str, Any]:
        """Take Slack's own hosts, or something inside that speaks the same."""
        data = super().clean()
        url = data.get("url") or ""
        if url and not data.get("inside") and parse(url).host not in HOSTS and not self.errors:
            self.add_error("url", "This is not an address of Slack. For anything else, add a webhook.")
        return data

    def parts(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the settings."""
        return self.config(), {"url": self.kept("url")}


class WebhookForm(_UrlForm):
    """A web address of one's own that takes signed JSON."""

    ORDER = ("name", "url", "inside")

    url = forms.CharField(
        label="Address",
        max_length=2000,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Takes a POST with JSON, signed as Standard Webhooks describes. It is kept as a secret.",
        error_messages={"required": "Write the address that takes the messages, such as https://example.com/hook."},
    )

    def parts(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the settings; a new channel gets a new signing key."""
        return self.config(), {"url": self.kept("url"), "key": self.kept("key") or new_key()}


FORMS: Mapping[str, type[ChannelForm]] = {"email": EmailForm, "slack": SlackForm, "webhook": WebhookForm}


class NoteForm(forms.Form):
    """What a person saw or did."""

    text = forms.CharField(max_length=4000, error_messages={"required": "Write what you saw or did."})


class FilterForm(forms.Form):
    """Which incidents to show; what is not understood shows everything."""

    show = forms.ChoiceField(required=False, choices=[("", "All"), ("open", "Open"), ("closed", "Mended")])
    severity = forms.ChoiceField(required=False, choices=[("", "Any"), ("bad", "Bad"), ("warn", "Warning")])
    q = forms.CharField(required=False, max_length=120)


def _check_address(address: str) -> None:
    try:
        validate_email(address)
        address.encode("ascii")
    except (ValidationError, UnicodeEncodeError) as error:
        raise ValidationError(f"“{address}” is not an e-mail address.") from error


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) == "Cc"
