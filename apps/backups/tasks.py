"""What a worker is rung for: each task takes the id of a run and calls the service."""

from celery import shared_task

from apps.backups import services


@shared_task(name="backups.perform", ignore_result=True)
def perform(run_id: str) -> None:
    """Take one backup."""
    services.perform(run_id)


@shared_task(name="backups.prove", ignore_result=True)
def prove(run_id: str) -> None:
    """Do one restore test."""
    services.prove(run_id)


@shared_task(name="backups.restore", ignore_result=True)
def restore(run_id: str) -> None:
    """Do one restore."""
    services.restore(run_id)


@shared_task(name="backups.check", ignore_result=True)
def check(run_id: str) -> None:
    """Test one connection."""
    services.check(run_id)


@shared_task(name="backups.inspect", ignore_result=True)
def inspect(run_id: str) -> None:
    """Look at one store."""
    services.inspect(run_id)
