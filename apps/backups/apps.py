"""Registers the backups room with Django."""

from django.apps import AppConfig


class BackupsConfig(AppConfig):
    """The backups room."""

    name = "apps.backups"
    label = "backups"
