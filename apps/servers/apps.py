"""Registers the servers room with Django."""

from django.apps import AppConfig


class ServersConfig(AppConfig):
    """The servers room."""

    name = "apps.servers"
    label = "servers"
