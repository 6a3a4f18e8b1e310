"""People of each role for every room's tests."""

from typing import Any

from django.contrib.auth.hashers import make_password
from factory.declarations import LazyFunction, Sequence
from factory.django import DjangoModelFactory

from apps.people.models import Person, Role

PASSWORD = "correct horse battery"
_HASH: dict[str, str] = {}


def _hashed(password: str) -> str:
    """Hash once a process: Argon2 is slow on purpose."""
    if password not in _HASH:
        _HASH[password] = make_password(password)
    return _HASH[password]


class _People(DjangoModelFactory[Person]):
    """Somebody who may sign in with PASSWORD."""

    class Meta:
        model = Person

    name = Sequence(lambda n: f"Person {n}")  # type: ignore[no-untyped-call]
    email = Sequence(lambda n: f"person{n}@example.com")  # type: ignore[no-untyped-call]
    role = Role.VIEWER
    password = LazyFunction(lambda: _hashed(PASSWORD))  # type: ignore[no-untyped-call]


def PersonFactory(**fields: Any) -> Person:  # noqa: N802 named like the factory that it calls, with a type
    """Make a viewer; give `role=` for another."""
    return _People.create(**fields)


def OwnerFactory(**fields: Any) -> Person:  # noqa: N802
    """Make an owner."""
    return PersonFactory(role=Role.OWNER, **fields)


def AdminFactory(**fields: Any) -> Person:  # noqa: N802
    """Make an admin."""
    return PersonFactory(role=Role.ADMIN, **fields)


def MemberFactory(**fields: Any) -> Person:  # noqa: N802
    """Make a member."""
    return PersonFactory(role=Role.MEMBER, **fields)
