"""The explicit list of work kinds and of what every tick looks at; core knows neither."""

import logging
from collections.abc import Callable
from datetime import datetime

from apps.access import services as access
from apps.access.models import KeyPush
from apps.alerts import services as alerts
from apps.alerts.models import Message
from apps.backups import services as backups
from apps.backups.models import Backup, ConnectionTest, Inspection, Restore, RestoreTest
from apps.core import pulse
from apps.core.runs import Run, ring_due
from apps.people.anchor import keep_head
from apps.servers import services as servers

log = logging.getLogger(__name__)

KINDS: tuple[type[Run], ...] = (Backup, RestoreTest, Restore, Inspection, ConnectionTest, KeyPush, Message)

# Each takes `now`, is idempotent, and is cheap when nothing changed.
LOOKS: tuple[Callable[[datetime], object], ...] = (
    backups.protect_self,
    backups.take_slots,
    backups.sweep,
    backups.forget_checks,
    backups.watch,
    servers.watch,
    access.look,
    access.watch,
    alerts.watch,
    keep_head,
    pulse.beat,
)


def tick(*, now: datetime) -> None:
    """Look at every room, then ring for every due row. One failing look never stops the others."""
    for look in LOOKS:
        try:
            look(now)
        except Exception:  # one bad row must not stop the clock: it is logged and tried again at the next tick
            log.exception("tick: %s failed", look.__name__)
    for kind in KINDS:
        ring_due(kind, now)
