"""The Celery app and the one beat entry: tick. The database holds the work; the broker only rings."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("mainstay")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["apps.core", "apps.people", "apps.alerts", "apps.access", "apps.backups", "config"])
