"""Runs a collector: `./mainstay manage collect`, beside the one of `./mainstay up` or on another machine."""

from typing import Any

from django.core.management.base import BaseCommand

from apps.servers.collector.main import collect


class Command(BaseCommand):
    """Asks the servers that no other collector drives, until it is stopped."""

    help = "Ask servers for samples and facts until SIGTERM; several collectors share the servers."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run until stopped."""
        collect()
