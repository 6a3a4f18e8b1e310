"""Settings, URLs, the Celery app and the one list of work kinds."""
from config.celery import app as celery_app

__all__ = ["celery_app"]
