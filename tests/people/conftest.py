"""Fixtures of the people room."""

from tests.people.fixtures import *  # noqa: F403 until the root conftest imports them for every room
