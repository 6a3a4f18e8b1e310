"""The verbs of the backups room: everything that pages, tasks and the tick may call."""

from apps.backups.services.asking import ask_restore, back_up_now, decrypted, stop, test_now
from apps.backups.services.places import (
    add_source,
    add_store,
    change_source,
    change_store,
    check_source,
    check_store,
    remove_source,
    remove_store,
)
from apps.backups.services.plans import PlanSpec, change_plan, pause, plan, remove_plan, resume
from apps.backups.services.refused import Refused

__all__ = [
    "PlanSpec",
    "Refused",
    "add_source",
    "add_store",
    "ask_restore",
    "back_up_now",
    "change_plan",
    "change_source",
    "change_store",
    "check_source",
    "check_store",
    "decrypted",
    "pause",
    "plan",
    "remove_plan",
    "remove_source",
    "remove_store",
    "resume",
    "stop",
    "test_now",
]
