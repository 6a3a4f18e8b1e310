"""The one task of the alerts room."""

from celery import shared_task

from apps.alerts.services import sending
from apps.core.runs import worker_name


@shared_task(name="alerts.send", ignore_result=True)
def send(message_id: str) -> None:
    """Send one message."""
    sending.send(message_id=message_id, worker=worker_name())
