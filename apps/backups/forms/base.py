"""What every form of this room shares: one sentence a field, secrets that are never sent back, and where a thing is."""

import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms

DOMAIN = ("provider", "account", "region", "site")
RETYPE = "Type it again: a secret is never sent back to the browser."
_LIMIT = 200


class Form(forms.Form):
    """A form whose fields are all optional to Django: what is needed depends on what was chosen; `check` says so."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    def clean(self) -> dict[str, Any]:
        """Strip what was typed, run `check`, then forget the secrets in what is shown again."""
        for name, value in list(self.cleaned_data.items()):
            if not isinstance(value, str):
                continue
            if name not in self.SECRETS:
                value = self.cleaned_data[name] = value.strip()  # noqa: PLW2901 the stripped one is meant
            if any(unicodedata.category(letter) == "Cc" for letter in value) and name not in self.LONG:
                self.put(name, "There is a character in here that cannot be typed. Write it again by hand.")
        self.check()
        return self.cleaned_data

    LONG: ClassVar[tuple[str, ...]] = ()  # the fields that may have several lines

    def check(self) -> None:
        """Look at the fields together; put one sentence on each that is wrong."""

    def put(self, name: str, sentence: str) -> None:
        """Put a sentence on a field, unless it has one already."""
        if name not in self.errors:
            self.add_error(name if name in self.fields else None, sentence)

    def got(self, name: str) -> str:
        """Return what was typed, stripped, or nothing."""
        value = self.cleaned_data.get(name)
        return value if isinstance(value, str) else ""

    def shown(self, name: str) -> Any:
        """Return what the page shows in a field: what was typed or is known, but never a secret."""
        if name in self.SECRETS:
            return ""
        value = self[name].value()
        return "" if value is None else value

    def show_instead(self, **values: str) -> None:
        """Change what the page shows in some fields when it shows the form again."""
        data: Any = self.data.copy()  # type: ignore[attr-defined]  # a QueryDict or a dict: both can
        for name, value in values.items():
            data[self.add_prefix(name)] = value
        self.data = data

    def error(self, name: str) -> str:
        """Return the sentence of a field, or nothing."""
        found = self.errors.get(name) if self.is_bound else None
        return str(found[0]) if found else ""

    def ask_again(self) -> None:
        """Say on each secret that was typed that it must be typed again; call it before a page shows the form again."""
        for name in self.SECRETS:
            if self.data.get(self.add_prefix(name)) and not self.errors.get(name):
                self.add_error(name, RETYPE)


def text(limit: int = _LIMIT, **options: Any) -> forms.CharField:
    """Return an optional text field that keeps blanks at the ends (passwords may have them)."""
    longer = f"Write at most {limit} characters."
    return forms.CharField(
        required=False, max_length=limit, strip=False, error_messages={"max_length": longer}, **options
    )


def choice(*values: str, initial: str) -> forms.CharField:
    """Return a field that holds one of a few words; anything else is the first of them."""
    return forms.TypedChoiceField(  # type: ignore[return-value]  # a choice of words is a text to its readers
        required=False,
        choices=[(value, value) for value in values],
        empty_value=initial,
        initial=initial,
        error_messages={"invalid_choice": "Choose one of these."},
    )


def whole(low: int, high: int, initial: int | None = None) -> forms.IntegerField:
    """Return an optional whole number within bounds."""
    said = f"Write a whole number from {low} to {high:,}."
    return forms.IntegerField(
        required=False,
        min_value=low,
        max_value=high,
        initial=initial,
        error_messages={"invalid": said, "min_value": said, "max_value": said},
    )


class DomainForm(Form):
    """Adds where a thing is: what burns down together. Empty is unknown, and unknown counts as the same."""

    provider = text(80)
    account = text(80)
    region = text(80)
    site = text(80)

    def domain(self) -> dict[str, str]:
        """Return the failure domain, known parts only."""
        return {name: self.got(name) for name in DOMAIN if self.got(name)}


def domain_initial(domain: Mapping[str, str]) -> dict[str, str]:
    """Return the failure domain as a form's initial values."""
    return {name: str(domain.get(name, "")) for name in DOMAIN}
