"""People of each role for every room's tests."""

import factory
from django.contrib.auth.hashers import make_password

from apps.people.models import Person, Role

PASSWORD = "correct horse battery"
_HASH: dict[str, str] = {}


def _hashed(password: str) -> str:
    """Hash once a process: Argon2 is slow on purpose."""
    if password not in _HASH:
        _HASH[password] = make_password(password)
    return _HASH[password]


class PersonFactory(factory.django.DjangoModelFactory):
    """A viewer; give `role=` for another."""

    class Meta:
        model = Person

    name = factory.Sequence(lambda n: f"Person {n}")
    email = factory.Sequence(lambda n: f"person{n}@example.com")
    role = Role.VIEWER
    password = factory.LazyFunction(lambda: _hashed(PASSWORD))


class OwnerFactory(PersonFactory):
    """An owner."""

    role = Role.OWNER


class AdminFactory(PersonFactory):
    """An admin."""

    role = Role.ADMIN


class MemberFactory(PersonFactory):
    """A member."""

    role = Role.MEMBER
