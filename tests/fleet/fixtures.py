"""Fixtures that hand out real servers: `server` for one, `servers(n)` for several, `fleet` for a module's own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.fleet.base import base
from tests.fleet.fleet import Fleet
from tests.fleet.machine import FleetError, lacks
from tests.fleet.server import Server


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Return this process's fleet; tests that need it are skipped, with the reason, where none can run."""
    if lacks():
        pytest.skip(lacks())
    made = Fleet.begin()
    yield made
    made.close()


@pytest.fixture
def server(fleet: Fleet) -> Iterator[Server]:
    """Return a clean Debian server that has booted; what a test does to it is gone afterwards."""
    with fleet.lend() as lent:
        yield lent[0]


@pytest.fixture
def servers(fleet: Fleet) -> Iterator[Callable[..., list[Server]]]:
    """Return a function that hands out clean servers: servers(3), servers(1, "light"), servers(1, "postgresql")."""
    with ExitStack() as stack:
        yield lambda count=1, kind="debian": stack.enter_context(fleet.lend(count, kind))


@pytest.fixture
def postgresql_server(fleet: Fleet) -> Iterator[Server]:
    """Return a clean server with Debian's PostgreSQL, running."""
    with fleet.lend(1, "postgresql") as lent:
        yield lent[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the fleet, so that nobody need remember."""
    for item in items:
        if "fleet" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fleet)
            item.add_marker(pytest.mark.real)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the bases before the first test, because a minute of installing is no test's own time."""
    if session.config.option.collectonly or _distributes(session):
        return
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "fleet" not in used or lacks():
        return
    try:
        for kind in ("debian", *(["postgresql"] if "postgresql_server" in used else [])):
            base(kind)
    except FleetError as error:  # the tests that need it will fail with it
        sys.stderr.write(f"{error}\n")


def _distributes(session: pytest.Session) -> bool:
    """Return whether this process runs no tests itself but has workers for that."""
    return bool(getattr(session.config.option, "numprocesses", None)) and not hasattr(session.config, "workerinput")
