"""The kinds of trouble that the servers room raises; judge.py finds them, alerts decides who hears of them and when."""

from datetime import timedelta

from apps.alerts.problem import Problem, Severity

NOW, SOON, DAY = timedelta(0), timedelta(minutes=5), timedelta(days=1)
WARN, BAD = Severity.WARN, Severity.BAD
AWAY = ("servers.unreachable", "servers.host_key")

HOST_KEY = Problem(
    "servers.host_key", "{subject}: another host key than the pinned one", BAD, NOW,
    "Find out on the server's own console whether it was made anew. Only then pin the new key on its page. Mainstay "
    "does not speak with it until then.",
)  # fmt: skip
UNREACHABLE = Problem(
    "servers.unreachable", "{subject} does not answer", BAD, SOON,
    "Look whether the machine runs and whether its SSH port is open to Mainstay.",
    ("servers.host_key",),
)  # fmt: skip
REFUSED = Problem(
    "servers.refused", "{subject} answers, but not to Mainstay", BAD, SOON,
    "Open the server's page and paste its script again; the sentence says what lacks.",
    AWAY,
)  # fmt: skip
RESOURCE = Problem(
    "servers.resource", "{subject}: a limit is passed", WARN, NOW,
    "Open the server's page: the chart shows since when. Free what is used, or change the limit.",
    AWAY,
)  # fmt: skip
FULL_SOON = Problem(
    "servers.full_soon", "{subject}: a disk will be full soon", WARN, timedelta(hours=1),
    "Make room or enlarge the disk before the earlier of the two moments.",
    AWAY,
)  # fmt: skip
UPDATES = Problem(
    "servers.updates", "{subject}: security updates wait", WARN, NOW,
    "Install them on the server, or turn on unattended upgrades.",
    AWAY,
)  # fmt: skip
REBOOT = Problem(
    "servers.reboot", "{subject}: a reboot is needed", WARN, timedelta(days=3),
    "Reboot the server at a quiet hour: what was updated runs only afterwards.",
    AWAY,
)  # fmt: skip
END_OF_LIFE = Problem(
    "servers.end_of_life", "{subject}: its system gets no more security updates", WARN, NOW,
    "Move to a release that is still looked after.",
)  # fmt: skip
CLOCK = Problem(
    "servers.clock", "{subject}: its clock is wrong", WARN, SOON,
    "Turn on time synchronisation there (timedatectl set-ntp true). Leases of keys end by that clock.",
    AWAY,
)  # fmt: skip

PROBLEMS = (HOST_KEY, UNREACHABLE, REFUSED, RESOURCE, FULL_SOON, UPDATES, REBOOT, END_OF_LIFE, CLOCK)
