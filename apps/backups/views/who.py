"""Who asks: the signed-in person behind a guarded request."""

from typing import cast

from django.http import HttpRequest

from apps.people.models import Person


def me(request: HttpRequest) -> Person:
    """Return the person; the guard has made sure that there is one."""
    return cast("Person", request.user)
