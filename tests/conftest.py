"""Fixtures that every room's tests share: a data folder with keys, the people, and a clock that is an argument."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from apps.core.keys import KeyRing, new_key, ring_path, save_ring
from tests.fleet.fixtures import (
    fleet,
    postgresql_server,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    server,
    servers,
)
from tests.people.cookies import sign_cookies_of_the_test_client
from tests.people.fixtures import (
    admin,
    admin_client,
    audit_can_be_emptied,
    member,
    member_client,
    owner,
    owner_client,
    stranger_client,
    viewer,
    viewer_client,
)

# fixtures of every room
__all__ = [
    "admin",
    "admin_client",
    "audit_can_be_emptied",
    "fleet",
    "member",
    "member_client",
    "owner",
    "owner_client",
    "postgresql_server",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "server",
    "servers",
    "stranger_client",
    "viewer",
    "viewer_client",
]

sign_cookies_of_the_test_client()
# Slow on purpose, and no test is about how slow: one pass over 64 KiB. Whole processes of Mainstay keep the real cost.
Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost, Argon2PasswordHasher.parallelism = 1, 64, 1

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)


@pytest.fixture(scope="session", autouse=True)
def _keys() -> Iterator[None]:
    """Give the test process a key ring of its own, in its own data folder."""
    if not ring_path().exists():
        save_ring(KeyRing((new_key(),)), ring_path())
    yield
    shutil.rmtree(settings.MAINSTAY_DATA, ignore_errors=True)


@pytest.fixture
def now() -> datetime:
    """Return the moment at which the tests play: Monday 23 November 2026, 09:41 UTC."""
    return NOW


@pytest.fixture
def data_folder() -> Path:
    """Return the data folder of this test process."""
    return Path(settings.MAINSTAY_DATA)
