"""./mainstay claims [--json]: what the first page claims, with the newest proof of each claim."""

from pathlib import Path

from config.command import prepare


def run(arguments: list[str]) -> int:
    """Print the claims; the exit code is 0 whatever they say."""
    from django.core.management import call_command

    prepare.follow_address(prepare.data_named())
    settings = prepare.load_django(prepare.data_named())
    with prepare.plainly(Path(settings.MAINSTAY_DATA)):
        call_command("claims", *arguments)
    return 0
