"""The forms of servers: name, where it is, what may be done there, and its limits. One sentence a field."""

import ipaddress
import re
from typing import Any

from django import forms

from apps.servers.models import Level, Server

_NAME = re.compile(r"^[\w][\w .@:+-]{0,79}$")
_HOST = re.compile(
    r"^(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$"
)
_TAG = re.compile(r"^[a-z0-9][a-z0-9._-]{0,39}$")
_TAGS = 20


class ServerForm(forms.Form):
    """A server, new or known. Its level is chosen apart once it is known, because that needs a script on the server."""

    name = forms.CharField(required=False, max_length=200)
    address = forms.CharField(required=False, max_length=400)
    port = forms.CharField(required=False, max_length=20, initial="22")
    level = forms.ChoiceField(
        required=False,
        choices=Level.choices,
        initial=Level.OBSERVE,
        error_messages={"invalid_choice": "Choose one of the three levels."},
    )
    tags = forms.CharField(required=False, max_length=400)
    note = forms.CharField(
        required=False, max_length=120, error_messages={"max_length": "Write at most 120 characters."}
    )
    seen_from = forms.CharField(required=False, max_length=600)

    def __init__(self, *args: Any, known: Server | None = None, **kwargs: Any) -> None:
        """Start from what is known of the server that is being changed."""
        self.known = known
        if known is not None:
            kwargs["initial"] = {
                "name": known.name,
                "address": known.address,
                "port": known.port,
                "level": known.level,
                "tags": " ".join(known.tags),
                "note": known.note,
                "seen_from": " ".join(known.seen_from),
            }
        super().__init__(*args, **kwargs)

    def clean_name(self) -> str:
        """Return the name: what people call it."""
        name = str(self.cleaned_data["name"]).strip()
        if not _NAME.match(name):
            raise forms.ValidationError(
                "Write what you call this server, for example web-1: letters, digits, blanks, dots and dashes."
                if name
                else "Write what you call this server, for example web-1."
            )
        return name

    def clean_address(self) -> str:
        """Return the host name or address, without user, port or scheme."""
        text = str(self.cleaned_data["address"]).strip()
        bare = text.removeprefix("[").removesuffix("]")
        if "://" in text or "@" in text or "/" in text:
            raise forms.ValidationError("Write only the address, without ssh://, user or path: web-1.example.com.")
        try:
            return str(ipaddress.ip_address(bare))
        except ValueError:
            pass
        if text.count(":") == 1:
            raise forms.ValidationError("Write the port into its own field, and only the address here.")
        if not _HOST.match(text) or re.fullmatch(r"[0-9.]+", text):
            raise forms.ValidationError(
                "Write a host name or an IP address, for example web-1.example.com or 10.0.0.5."
            )
        return text.rstrip(".").lower()

    def clean_port(self) -> int:
        """Return the port; empty is 22."""
        word = str(self.cleaned_data["port"]).strip() or "22"
        if not word.isdecimal() or not 0 < int(word) < 65536:
            raise forms.ValidationError("The port is a number from 1 to 65535; sshd usually listens on 22.")
        return int(word)

    def clean_level(self) -> str:
        """Return the level; nothing chosen is the least."""
        return str(self.cleaned_data["level"] or Level.OBSERVE)

    def clean_tags(self) -> list[str]:
        """Return the tags, small letters, each once."""
        words = re.split(r"[\s,;]+", str(self.cleaned_data["tags"]).strip().lower())
        tags = sorted({word for word in words if word})
        wrong = next((tag for tag in tags if not _TAG.match(tag)), None)
        if wrong:
            raise forms.ValidationError(f"“{wrong[:40]}” is no tag. Use small letters, digits, dots and dashes.")
        if len(tags) > _TAGS:
            raise forms.ValidationError(f"At most {_TAGS} tags.")
        return tags

    def clean_seen_from(self) -> list[str]:
        """Return the addresses or networks from which the server sees Mainstay."""
        words = [word for word in re.split(r"[\s,;]+", str(self.cleaned_data["seen_from"]).strip()) if word]
        found = []
        for word in words[:10]:
            try:
                network = ipaddress.ip_network(word, strict=False)
            except ValueError:
                raise forms.ValidationError(
                    f"“{word[:50]}” is no IP address. Write the address from which this server sees Mainstay."
                ) from None
            if network.prefixlen == 0:
                raise forms.ValidationError("Write Mainstay's own address; the whole internet is no limit.")
            found.append(str(network.network_address) if network.num_addresses == 1 else str(network))
        return found
