"""./mainstay manage: Django's own commands, with Mainstay's settings."""

from django.core.management import execute_from_command_line

from config.command import prepare


def run(arguments: list[str]) -> int:
    """Hand the words to Django, which exits by itself when one is wrong."""
    prepare.follow_address(prepare.data_named())
    execute_from_command_line(["mainstay manage", *arguments])
    return 0
