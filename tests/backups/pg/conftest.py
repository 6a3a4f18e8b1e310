"""Fixtures of the PostgreSQL engine: real servers, started once a process when a test first asks, and names."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.backups.lent import Lent
from tests.servers.postgres import Server, server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[int], Server]]:
    """Return a running server of a major version."""
    running: dict[int, Server] = {}
    with ExitStack() as stack:

        def of(major: int) -> Server:
            if major not in running:
                running[major] = stack.enter_context(server(major))
            return running[major]

        yield of


@pytest.fixture
def work(tmp_path: Path) -> Lent:
    """Lend what a run would."""
    return Lent(tmp_path)


@pytest.fixture
def name() -> str:
    """Return a name that no other test has."""
    return f"t{uuid4().hex[:12]}"
