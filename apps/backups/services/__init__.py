"""The verbs of the backups room: everything that pages, tasks and the tick may call."""

from apps.backups.ledger import sweep_leftovers as sweep
from apps.backups.services.asking import ask_restore, back_up_now, decrypted, look_now, stop, test_now
from apps.backups.services.checking import ask_check, check, check_source, check_store, forget_checks
from apps.backups.services.inspect import inspect
from apps.backups.services.own import own_plan, protect_self
from apps.backups.services.perform import perform
from apps.backups.services.places import (
    add_source,
    add_store,
    change_source,
    change_store,
    remove_source,
    remove_store,
)
from apps.backups.services.plans import PlanSpec, change_plan, pause, plan, remove_plan, resume
from apps.backups.services.prove import prove
from apps.backups.services.prune import prune
from apps.backups.services.recovery import (
    asked_word,
    key_is_proven,
    prove_recovery_key,
    recovery_key,
    recovery_steps,
    showed_recovery_key,
)
from apps.backups.services.restore import restore
from apps.backups.services.slots import take_slots
from apps.backups.services.standing import claims, needs
from apps.backups.services.watching import ask_inspections, judge_plan, watch
from apps.core.refused import Refused

__all__ = [
    "PlanSpec",
    "Refused",
    "add_source",
    "add_store",
    "ask_check",
    "ask_inspections",
    "ask_restore",
    "asked_word",
    "back_up_now",
    "change_plan",
    "change_source",
    "change_store",
    "check",
    "check_source",
    "check_store",
    "claims",
    "decrypted",
    "forget_checks",
    "inspect",
    "judge_plan",
    "key_is_proven",
    "look_now",
    "needs",
    "own_plan",
    "pause",
    "perform",
    "plan",
    "protect_self",
    "prove",
    "prove_recovery_key",
    "prune",
    "recovery_key",
    "recovery_steps",
    "remove_plan",
    "remove_source",
    "remove_store",
    "restore",
    "resume",
    "showed_recovery_key",
    "stop",
    "sweep",
    "take_slots",
    "test_now",
    "watch",
]
