"""The tasks of access: three lines each."""

from celery import shared_task

from apps.access import services


@shared_task(name="access.push", ignore_result=True)
def push(run_id: str) -> None:
    """Perform one push."""
    services.push(run_id=run_id)
