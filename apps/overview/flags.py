"""What stands beside a page in the sidebar: how many things there need a person."""

from datetime import datetime

from django.db.models import Count, Q

from apps.alerts.models import Incident
from apps.backups.models import Plan
from apps.core.jinja import Flag


def incidents(_now: datetime) -> Flag | None:
    """Return the open incidents."""
    found = Incident.objects.open().order_by().aggregate(number=Count("pk"), bad=Count("pk", filter=Q(severity="bad")))
    return Flag(found["number"], "bad" if found["bad"] else "warn", "open") if found["number"] else None


def plans(_now: datetime) -> Flag | None:
    """Return the plans at risk."""
    found = Plan.objects.live().aggregate(
        bad=Count("pk", filter=Q(verdict="bad")), warn=Count("pk", filter=Q(verdict="warn"))
    )
    number = found["bad"] + found["warn"]
    return Flag(number, "bad" if found["bad"] else "warn", "at risk") if number else None
