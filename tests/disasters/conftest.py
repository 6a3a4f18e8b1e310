"""The servers that all disasters of one process share."""

from collections.abc import Iterator

import pytest

from tests.disasters.scene import Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Start a server when a case first asks, and stop all at the end."""
    running = Servers()
    yield running
    running.close()
