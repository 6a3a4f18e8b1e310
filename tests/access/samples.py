"""Sample arguments for the addresses of access: a function that makes the rows and returns the arguments."""

from typing import Any

from apps.access.models import Asking, Departure, Drift, Grant
from apps.people.models import Person
from tests.access.factories import finding, key_of, managed
from tests.people.factories import PersonFactory
from tests.people.samples import Sample


def drift(visitor: Person | None) -> list[Any]:
    """Return a finding that the visitor was asked about."""
    found = finding(managed())
    Drift.objects.filter(pk=found.pk).update(state="asked", asked=visitor)
    return [found.pk]


SAMPLES: dict[str, Sample] = {
    "access-grant-end": lambda _visitor: [Grant.objects.create(role="member", server=managed().server).pk],
    "access-look": lambda _visitor: [managed().server.pk],
    "access-mode": lambda _visitor: [managed().server.pk],
    "access-answer": lambda _visitor: [Asking.objects.create(person=PersonFactory(), server=managed().server).pk],
    "key-remove": lambda visitor: [key_of(visitor or PersonFactory()).pk],
    "access-drift-decide": drift,
    "access-drift-reply": drift,
    "access-departure": lambda _visitor: [Departure.objects.create(person=PersonFactory(is_active=False)).pk],
}
