"""The form of a grant: whom, where, with sudo or not, until when."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms

from apps.people.models import Person, Role
from apps.servers.models import Server


class GrantForm(forms.Form):
    """One grant. `whom` is person:<id> or role:<role>, `where` is server:<id> or tag:<tag>."""

    whom = forms.CharField(required=False, max_length=60)
    where = forms.CharField(required=False, max_length=60)
    sudo = forms.BooleanField(required=False)
    until = forms.CharField(required=False, max_length=20)

    def __init__(self, *args: Any, zone: str, given: Mapping[str, Any], **kwargs: Any) -> None:
        """Offer everybody who is here, every role, every server and every tag; `given` chooses some already."""
        self.zone = ZoneInfo(zone)
        kwargs["initial"] = {"whom": given.get("whom", ""), "where": given.get("where", "")}
        super().__init__(*args, **kwargs)
        self.people = list(Person.objects.filter(is_active=True).order_by("name"))
        self.servers = list(Server.objects.order_by("name").only("name", "tags"))
        self.tags = sorted({tag for server in self.servers for tag in server.tags})

    @property
    def whom_options(self) -> list[tuple[str, str]]:
        """Return the choices of whom."""
        roles = [(f"role:{value}", f"Every {label.lower()}") for value, label in Role.choices]
        return [("", "Choose"), *((f"person:{one.pk}", str(one)) for one in self.people), *roles]

    @property
    def where_options(self) -> list[tuple[str, str]]:
        """Return the choices of where."""
        tags = [(f"tag:{tag}", f"Every server tagged {tag}") for tag in self.tags]
        return [("", "Choose"), *((f"server:{one.pk}", one.name) for one in self.servers), *tags]

    def clean_whom(self) -> dict[str, Any]:
        """Return person or role."""
        kind, _, value = str(self.cleaned_data["whom"]).partition(":")
        if kind == "role" and value in Role.values:
            return {"role": value}
        person = next((one for one in self.people if kind == "person" and one.pk == _uuid(value)), None)
        if person is None:
            raise forms.ValidationError("Choose a person or a role.")
        return {"person": person}

    def clean_where(self) -> dict[str, Any]:
        """Return server or tag."""
        kind, _, value = str(self.cleaned_data["where"]).partition(":")
        if kind == "tag" and value in self.tags:
            return {"tag": value}
        server = next((one for one in self.servers if kind == "server" and one.pk == _uuid(value)), None)
        if server is None:
            raise forms.ValidationError("Choose a server or a tag.")
        return {"server": server}

    def clean_until(self) -> datetime | None:
        """Return the end of the day that was chosen, in the person's zone; nothing is without an end."""
        text = str(self.cleaned_data["until"]).strip()
        if not text:
            return None
        try:
            day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 a day has no zone; it gets one below
            return datetime.combine(day + timedelta(days=1), time(), self.zone)
        except (ValueError, OverflowError):
            raise forms.ValidationError("Write the day as 2026-12-31.") from None

    def values(self) -> dict[str, Any]:
        """Return the arguments of the service."""
        good = self.cleaned_data
        return {**good["whom"], **good["where"], "sudo": good["sudo"], "until": good["until"]}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
