"""The tick: rings for every due row and lets each room look at what changed below it."""

from celery import shared_task
from django.utils import timezone

from config.work import tick


@shared_task(name="tick", ignore_result=True)
def run_tick() -> None:
    """Run one tick at the present moment."""
    tick(now=timezone.now())
