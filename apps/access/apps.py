"""Registers the access room with Django."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    """The access room."""

    name = "apps.access"
    label = "access"
