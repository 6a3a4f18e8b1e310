"""The kinds of trouble that the access room raises; alerts decides who hears of them and when."""

from datetime import timedelta

from apps.alerts.problem import Problem, Severity

NOW = timedelta(0)

PUSH = Problem(
    "access.push", "{subject}: access could not be changed", Severity.BAD, timedelta(minutes=5),
    "Read the sentence and mend what it names; Mainstay tries again by itself. What was there before still works.",
    ("servers.host_key", "servers.unreachable", "servers.refused"),
)  # fmt: skip
DRIFT = Problem(
    "access.drift", "{subject}: somebody could get in who should not", Severity.BAD, NOW,
    "Open the drift page and decide: adopt what is meant, ask whose it is, or remove it.",
)  # fmt: skip
UNSEEN = Problem(
    "access.unseen", "{subject}: who can sign in was not looked at", Severity.WARN, timedelta(hours=2),
    "Open the server's page: the gate must answer at the level that manages access.",
    ("servers.host_key", "servers.unreachable", "servers.refused"),
)  # fmt: skip
LEAVING = Problem(
    "access.leaving", "{subject} has left, and not every server has proven it", Severity.BAD, timedelta(minutes=10),
    "Open the page of the departure: it names the servers and when the leases there end.",
)  # fmt: skip

PROBLEMS = (PUSH, DRIFT, UNSEEN, LEAVING)
