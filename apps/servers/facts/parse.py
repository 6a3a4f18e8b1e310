"""What a server is, each hour: its system and until when it is cared for, updates, reboot, listeners, services."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from apps.servers import eol
from apps.servers.facts.read import MalformedError, flag, number, part, rows, text, texts, whole

MOST_LISTENERS, MOST_SERVICES, MOST_NAMES, MOST_LACKS = 500, 500, 200, 50


@dataclass(frozen=True, slots=True)
class Updates:
    """Packages that wait. `key` names what they were read from, so that the same is not worked out twice."""

    key: str
    pending: int
    security: int
    names: list[str]  # "openssl 3.0 → 3.1", security first
    lists_at: float | None  # when the package lists were fetched
    manager: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that takes connections or datagrams; the program is known only at the level operate."""

    proto: str
    address: str
    port: int
    user: str
    program: str


@dataclass(frozen=True, slots=True)
class Service:
    """A service of systemd that runs, failed, or starts with the machine."""

    name: str
    state: str
    sub: str
    enabled: str
    since: float | None
    restart: str
    restarts: int
    result: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything of an hour. None is unknown, never zero."""

    taken: float
    boot_id: str
    booted: float | None
    hostname: str
    kernel: str
    arch: str
    cpus: int | None
    memory: int | None
    virtual: str
    timezone: str
    system: str  # "Debian GNU/Linux 12 (bookworm)"
    os_id: str
    os_version: str
    support: str  # eol.Support
    support_said: str
    end_of_life: str | None  # ISO date
    systemd: str
    python: str
    openssh: str
    updates: Updates | None
    reboot: str | None  # why one is due; "" when none is; None unknown
    listeners: list[Listener] | None
    services: list[Service] | None
    users: int | None
    time_synced: bool | None
    lacks: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only, as Facts.data keeps them; the updates' figures also lie at the top."""
        found = asdict(self)
        waiting = self.updates
        return {
            **found,
            "pending": waiting.pending if waiting else None,
            "security": waiting.security if waiting else None,
            "lists_at": waiting.lists_at if waiting else None,
        }


# what changes each time without anything having changed
FLEETING = ("taken", "booted")


def parse(found: Mapping[str, Any], *, known: Mapping[str, Any] | None, today: date) -> Facts:
    """Take a gate's facts apart. `known` are the facts kept before: their updates count on where nothing changed.

    Raises MalformedError when it does not even say when it was taken.
    """
    taken = number(found.get("taken"))
    if taken is None:
        raise MalformedError("The facts do not say when they were taken.")
    release = part(found, "os")
    name = text(release.get("name"), 120)
    fields = {"ID": text(release.get("id"), 40), "VERSION_ID": text(release.get("version"), 40), "NAME": name}
    life = eol.judge({**fields, "PRETTY_NAME": name}, today)
    return Facts(
        taken=taken,
        boot_id=text(found.get("boot_id"), 40),
        booted=number(found.get("booted")),
        hostname=text(found.get("hostname"), 253),
        kernel=text(found.get("kernel"), 120),
        arch=text(found.get("arch"), 40),
        cpus=whole(found.get("cpus"), most=65536),
        memory=whole(found.get("memory")),
        virtual=text(found.get("virtual"), 40),
        timezone=text(found.get("timezone"), 80),
        system=name,
        os_id=fields["ID"],
        os_version=fields["VERSION_ID"],
        support=life.support.value,
        support_said=life.said,
        end_of_life=life.until.isoformat() if life.until else None,
        systemd=text(found.get("systemd"), 40),
        python=text(found.get("python"), 40),
        openssh=text(found.get("openssh"), 100),
        updates=_updates(part(found, "updates"), part(known or {}, "updates")),
        reboot=_reboot(part(found, "reboot")),
        listeners=_listeners(found.get("listeners")),
        services=_services(found.get("services")),
        users=whole(found.get("users"), most=1e7),
        time_synced=flag(found.get("time_synced")),
        lacks=texts(found.get("lacks"), MOST_LACKS, 400),
    )


def _updates(found: Mapping[str, Any], known: Mapping[str, Any]) -> Updates | None:
    key = text(found.get("key"), 64)
    if found.get("unchanged") is True and key and key == known.get("key"):
        found = known
    pending, security = whole(found.get("pending"), most=1e6), whole(found.get("security"), most=1e6)
    if pending is None or security is None or security > pending:
        return None
    names, lists_at = texts(found.get("names"), MOST_NAMES), number(found.get("lists_at"))
    return Updates(key, pending, security, names, lists_at, text(found.get("manager"), 20))


def _reboot(found: Mapping[str, Any]) -> str | None:
    needed = flag(found.get("needed"))
    if needed is None:
        return None
    if not needed:
        return ""
    why = texts(found.get("why"), 3, 80)
    return f"A reboot is due, for {', '.join(why)}." if why else "A reboot is due."


def _listeners(found: object) -> list[Listener] | None:
    if not isinstance(found, list):
        return None
    out = []
    for row in rows(found, MOST_LISTENERS):
        port, proto = whole(row.get("port"), most=65535), row.get("proto")
        if port is None or proto not in {"tcp", "udp"}:
            continue
        address, user, program = text(row.get("address"), 60), text(row.get("user"), 64), text(row.get("program"), 64)
        out.append(Listener(proto, address, port, user, program))
    return sorted(set(out), key=lambda one: (one.proto, one.port, one.address, one.program))


def _services(found: object) -> list[Service] | None:
    if not isinstance(found, list):
        return None
    out = []
    for row in rows(found, MOST_SERVICES):
        name = text(row.get("name"), 120)
        if name:
            state, sub, enabled, restart, result = (
                text(row.get(word), 40) for word in ("state", "sub", "enabled", "restart", "result")
            )
            restarts = whole(row.get("restarts"), most=1e9) or 0
            out.append(Service(name, state, sub, enabled, number(row.get("since")), restart, restarts, result))
    return sorted(out, key=lambda one: one.name)
