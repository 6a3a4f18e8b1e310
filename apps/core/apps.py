"""Registers the core room with Django."""

from django.apps import AppConfig

from apps.core.sentences import speak


class CoreConfig(AppConfig):
    """The core room."""

    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        """Let every form speak in our words, before any form is made."""
        speak()
