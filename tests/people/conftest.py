"""Fixtures of the people room."""

import importlib

import pytest
from pytest_django import Settings

from tests.people.fixtures import *  # noqa: F403 until the root conftest imports them for every room


@pytest.fixture(autouse=True)
def _addresses(settings: Settings) -> None:
    """Use the stub addresses while another room does not import."""
    try:
        importlib.import_module("config.urls")
    except ImportError:
        settings.ROOT_URLCONF = "tests.people.stub_urls"
