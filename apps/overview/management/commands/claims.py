"""Prints what the first page claims: `./mainstay claims`, or `--json` for one list of objects (a stable interface)."""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from apps.core import words
from apps.core.claims import Claim
from apps.core.pulse import heartbeat
from apps.overview import pages, standing


class Command(BaseCommand):
    """Prints every claim with its newest proof."""

    help = "Print every claim with its newest proof and what to do."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --json."""
        parser.add_argument("--json", action="store_true", help="one JSON list instead of lines for people")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print the claims; exit code 0 whatever they say, for saying is the point."""
        now = timezone.now()
        lines = standing.lines(pages.claims(now))
        found = [claim for line in lines for claim in line.claims]
        if options["json"]:
            self.stdout.write(json.dumps([as_json(claim) for claim in found], indent=2, ensure_ascii=False))
            return
        pulse = heartbeat(now)
        if pulse.stale:
            self.stdout.write(
                f"Nothing was looked at since {words.moment(pulse.at)}." if pulse.at else "Nothing was looked at yet."
            )
        for claim in found:
            subject = f"{claim.title}: {claim.subject}."
            self.stdout.write(f"{claim.id:<4} {claim.standing.value:<9} {subject} {claim.said} {claim.todo}".rstrip())


def as_json(claim: Claim) -> dict[str, Any]:
    """Return a claim as `claims --json` prints it; `proof` is null for what was never proven."""
    proof = {"at": claim.proven_at.isoformat(), "figures": dict(claim.figures)} if claim.proven_at else None
    return {
        "id": claim.id,
        "title": claim.title,
        "subject": claim.subject,
        "state": claim.standing.value,
        "said": claim.said,
        "proof": proof,
        "since": claim.since.isoformat() if claim.since else None,
        "todo": claim.todo,
        "url": f"{settings.MAINSTAY_URL}{claim.url}" if claim.url.startswith("/") else claim.url,
    }
