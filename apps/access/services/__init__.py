"""What people and the clock do with access: keys, grants, pushes, leaving, drift, and how it stands."""

from apps.access.services.drifting import can_remove, decide, reply
from apps.access.services.grants import answer, ask, end_grant, grant
from apps.access.services.keys import Pasted, account_of, add_keys, look_at, remove_key
from apps.access.services.leaving import off_board
from apps.access.services.modes import change_mode, surely_in
from apps.access.services.pushing import ask_push, look, push
from apps.access.services.standing import claims, needs, states, watch
from apps.core.refused import Refused

__all__ = [
    "Pasted",
    "Refused",
    "account_of",
    "add_keys",
    "answer",
    "ask",
    "ask_push",
    "can_remove",
    "change_mode",
    "claims",
    "decide",
    "end_grant",
    "grant",
    "look",
    "look_at",
    "needs",
    "off_board",
    "push",
    "remove_key",
    "reply",
    "states",
    "surely_in",
    "watch",
]
