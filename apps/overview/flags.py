"""What stands beside a page in the sidebar: how many things there need a person."""

from datetime import datetime

from django.db.models import Count, Q

from apps.alerts.models import Incident
from apps.backups.models import Plan
from apps.core.jinja import Flag
from apps.overview.standing import Plans, Trouble


def incidents(_now: datetime) -> Flag | None:
    """Return the open incidents."""
    found = Incident.objects.open().order_by().aggregate(number=Count("pk"), bad=Count("pk", filter=Q(severity="bad")))
    return of_trouble(Trouble(**found))


def plans(_now: datetime) -> Flag | None:
    """Return the plans at risk."""
    found = Plan.objects.live().aggregate(
        bad=Count("pk", filter=Q(verdict="bad")), warn=Count("pk", filter=Q(verdict="warn"))
    )
    return of_plans(Plans(**found))


def of_trouble(found: Trouble) -> Flag | None:
    """Return the flag of the incidents, counted already."""
    return Flag(found.number, "bad" if found.bad else "warn", "open") if found.number else None


def of_plans(found: Plans) -> Flag | None:
    """Return the flag of the plans, counted already."""
    return Flag(found.at_risk, "bad" if found.bad else "warn", "at risk") if found.at_risk else None
