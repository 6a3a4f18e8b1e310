"""Fixtures of the backups room: a real S3 server, started once a process when a test first asks for it."""

from collections.abc import Iterator

import pytest

from tests.servers.s3 import Relay, S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Run SeaweedFS for the session."""
    with s3_server() as server:
        yield server


@pytest.fixture
def relay(s3: S3Server) -> Iterator[Relay]:
    """Stand between a store and the server."""
    between = Relay(s3.endpoint)
    yield between
    between.close()
