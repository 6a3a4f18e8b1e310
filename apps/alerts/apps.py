"""Registers the alerts room with Django."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """The alerts room."""

    name = "apps.alerts"
    label = "alerts"
