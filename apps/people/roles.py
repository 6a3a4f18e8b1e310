"""Who may do what: the one table of actions. A view without an action here fails the suite."""

from apps.people.models import Role

OWNER, ADMIN, MEMBER, VIEWER = Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER
EVERYONE = frozenset({OWNER, ADMIN, MEMBER, VIEWER})
ADMINS = frozenset({OWNER, ADMIN})
OWNERS = frozenset({OWNER})

ACTIONS: dict[str, frozenset[Role]] = {
    "overview.read": EVERYONE,
    "backups.read": EVERYONE,
    "backups.plan": ADMINS,  # make, change, pause and remove plans, sources and stores; test a connection
    "backups.run": ADMINS,  # back up now, test a restore now
    "backups.restore": ADMINS,  # into a new, empty place
    "backups.download": OWNERS,  # a decrypted copy; recent sign-in
    "backups.recovery_key": OWNERS,  # recent sign-in
    "servers.read": EVERYONE,
    "servers.manage": ADMINS,  # add, change, confirm a host key, remove
    "access.read": EVERYONE,  # who may log in where
    "access.self": EVERYONE,  # one's own public keys
    "access.manage": ADMINS,  # grants, drift, someone leaves
    "alerts.read": EVERYONE,
    "alerts.act": frozenset({OWNER, ADMIN, MEMBER}),  # acknowledge, note
    "alerts.channels": ADMINS,
    "people.read": EVERYONE,
    "people.manage": ADMINS,  # invite, change roles below one's own, someone leaves
    "people.self": EVERYONE,  # one's own profile and sign-in safety
    "people.audit": ADMINS,
}


def may(role: str, action: str) -> bool:
    """Return whether a role may do an action; an unknown action is nobody's."""
    return role in ACTIONS.get(action, frozenset())


RANK: dict[str, int] = {OWNER: 3, ADMIN: 2, MEMBER: 1, VIEWER: 0}


def outranks(role: str, other: str) -> bool:
    """Return whether a role reaches as high as another one: nobody gives or touches a role above their own."""
    return RANK.get(role, -1) >= RANK.get(other, 99)
