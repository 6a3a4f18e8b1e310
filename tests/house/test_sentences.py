"""No form says anything in Django's stock words: every field, filled in wrongly in every way, answers in ours."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django import forms
from django.contrib.auth.password_validation import get_default_password_validators
from django.core.exceptions import ValidationError
from django.urls import get_resolver

import apps
from apps.people.forms import SetUpForm

STOCK_FILES = ("forms/fields.py", "forms/models.py", "core/validators.py", "contrib/auth/password_validation.py")
TRANSLATED = {"ngettext", "ngettext_lazy", "gettext", "gettext_lazy"}
BAD: list[Any] = [
    "",
    None,
    [],
    ["no such choice"],
    "\0",
    "x" * 300_000,
    "-1000000",
    "1" * 30,
    "no such thing",
    "@",
    "1.5",
]


def stock() -> set[str]:
    """Return every message that Django itself would say, read from its own source."""
    trees = (ast.parse((Path(django.__file__).parent / name).read_text(encoding="utf-8")) for name in STOCK_FILES)
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    marked = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id in {"_", *TRANSLATED})
    words = (arg.value for call in marked for arg in call.args if isinstance(arg, ast.Constant))
    return {word for word in words if isinstance(word, str) and word.endswith(".")}


STOCK = stock()


def form_classes() -> list[type[forms.BaseForm]]:
    """Return every form of ours, and those of the sign-in library that an address of ours leads to."""
    found: set[type[forms.BaseForm]] = set()
    for module in pkgutil.walk_packages(apps.__path__, "apps."):
        if ".forms" in module.name:
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, forms.BaseForm) and value.__module__[:5] == "apps.":
                    found.add(value)
    for pattern in _patterns(get_resolver().url_patterns):
        view = pattern.callback
        while hasattr(view, "__wrapped__"):
            view = view.__wrapped__
        kind = getattr(getattr(view, "view_class", None), "form_class", None)
        if isinstance(kind, type):
            found.add(kind)
    return sorted(found, key=lambda kind: kind.__qualname__)


def _patterns(patterns: list[Any]) -> Iterator[Any]:
    for each in patterns:
        if hasattr(each, "url_patterns"):
            yield from _patterns(each.url_patterns)
        else:
            yield each


FORMS = form_classes()


def test_the_stock_messages_were_found() -> None:
    assert {"This field is required.", "Enter a valid email address.", "This password is too common."} <= STOCK
    assert len(FORMS) > 20


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_no_form_says_what_django_would_say(form: type[forms.BaseForm]) -> None:
    said = set()
    fields: dict[str, forms.Field] = form.base_fields  # type: ignore[attr-defined]  # the metaclass adds it
    for name, field in fields.items():
        for bad in BAD:
            try:
                field.clean(bad)
            except ValidationError as error:
                said |= {(name, str(each.message)) for each in error.error_list}
    assert {(name, text) for name, text in said if text in STOCK} == set()
    assert {(name, text) for name, text in said if not text.endswith(".")} == set()


@pytest.mark.parametrize(
    "field", ["CharField", "EmailField", "IntegerField", "UUIDField", "ChoiceField", "MultipleChoiceField",
              "BooleanField", "DateField", "TimeField", "DateTimeField", "FloatField"]
)  # fmt: skip
def test_a_field_that_nobody_thought_of_speaks_our_words(field: str) -> None:
    made: forms.Field = getattr(forms, field)()
    assert {text for text in map(str, made.error_messages.values()) if text in STOCK} == set()


def test_no_rule_for_passwords_says_what_django_would_say() -> None:
    said = {str(rule.get_error_message()) for rule in get_default_password_validators()}  # type: ignore[attr-defined]
    assert len(said) == 3
    assert said & STOCK == set()


def test_a_password_like_the_name_is_refused_in_our_words() -> None:
    form = SetUpForm({"name": "Ada Lovelace", "email": "ada@example.com", "password": "ada lovelace"})
    assert form.errors["password"] == ["This password is too much like your name. Choose another."]
