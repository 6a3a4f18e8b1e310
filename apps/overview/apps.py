"""Registers the overview room with Django."""

from django.apps import AppConfig


class OverviewConfig(AppConfig):
    """The overview room."""

    name = "apps.overview"
    label = "overview"
