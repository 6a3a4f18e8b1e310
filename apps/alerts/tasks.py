"""The one task of the alerts room."""

import os
import socket

from celery import shared_task

from apps.alerts.services import sending


@shared_task(name="alerts.send", ignore_result=True)
def send(message_id: str) -> None:
    """Send one message."""
    sending.send(message_id=message_id, worker=f"{socket.gethostname()}:{os.getpid()}")
