"""Sample arguments for the addresses of servers: each makes a server of its own."""

from typing import Any

from apps.people.models import Person
from tests.access.factories import managed
from tests.people.samples import Sample


def server(_visitor: Person | None) -> list[Any]:
    """Return a server that answers."""
    return [managed().server.pk]


NAMES = ("server", "server-charts", "server-limits", "server-edit", "server-connect", "server-look", "server-pin",
         "server-keep", "server-level", "server-remove")  # fmt: skip
SAMPLES: dict[str, Sample] = dict.fromkeys(NAMES, server)
