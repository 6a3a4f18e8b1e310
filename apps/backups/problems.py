"""The kinds of trouble that the backups room raises; judge.py finds them, alerts decides who hears of them and when."""

from datetime import timedelta

from apps.alerts.problem import Problem, Severity

NOW, SOON, DAY = timedelta(0), timedelta(minutes=15), timedelta(days=1)
WARN, BAD = Severity.WARN, Severity.BAD
NO_BACKUP = ("backups.failed", "backups.late", "backups.never_ran")

FAILED = Problem(
    "backups.failed", "{subject}: the backup failed", BAD, NOW,
    "Read the sentence and the log of the run, mend the cause, then back up now. Earlier backups are untouched.",
    ("backups.store",),
)  # fmt: skip
NEVER_RAN = Problem(
    "backups.never_ran", "{subject}: no backup was ever finished", BAD, NOW,
    "Back up now and watch the run. If it only waits, no worker is there: restart Mainstay or its workers.",
    ("backups.failed", "backups.store"),
)  # fmt: skip
LATE = Problem(
    "backups.late", "{subject}: the backup is late", BAD, NOW,
    "Back up now and watch the run. If it only waits, no worker is there: restart Mainstay or its workers.",
    ("backups.failed", "backups.store", "backups.lost"),
)  # fmt: skip
LOST = Problem(
    "backups.lost", "{subject}: a backup is gone from its store", BAD, NOW,
    "Find out who can delete there. Back up now, test a restore of it, and use a store with object lock.",
    ("backups.store",),
)  # fmt: skip
EMPTY = Problem(
    "backups.empty", "{subject}: the backup is empty", BAD, NOW,
    "Check that the source names the right database or folder, and that its user may read everything.",
)  # fmt: skip
SHRUNK = Problem(
    "backups.shrunk", "{subject}: the backup shrank", BAD, NOW,
    "Check the source for deleted rows, tables or files. If it is meant, do nothing: the next ones are the measure.",
    ("backups.empty",),
)  # fmt: skip
PROOF_FAILED = Problem(
    "backups.proof_failed", "{subject}: the restore test failed", BAD, NOW,
    "Open the evidence, mend the cause, then test a restore of the newest backup. Keep every older backup until then.",
    ("backups.lost", "backups.store", "backups.key_lost"),
)  # fmt: skip
KEY_LOST = Problem(
    "backups.key_lost", "{subject}: backups cannot be opened any more", BAD, NOW,
    "Bring the age identity back from your printed recovery key, into the keys folder.",
)  # fmt: skip
STORE = Problem(
    "backups.store", "{subject}: the store cannot be read", BAD, SOON,
    "Open the store and test the connection; the sentence says what the store answered.",
)  # fmt: skip
UNTESTABLE = Problem(
    "backups.untestable", "{subject}: a restore cannot be tested here", WARN, SOON,
    "Install what the sentence names, then test a restore.",
)  # fmt: skip
UNPROVEN = Problem(
    "backups.unproven", "{subject}: no restore was ever proven", WARN, timedelta(hours=6),
    "Test a restore now; a backup that was never restored is a hope.",
    (*NO_BACKUP, "backups.lost", "backups.proof_failed", "backups.untestable"),
)  # fmt: skip
STALE = Problem(
    "backups.stale", "{subject}: the last proof is too old", WARN, SOON,
    "Test a restore now.",
    (*NO_BACKUP, "backups.proof_failed", "backups.untestable", "backups.store"),
)  # fmt: skip
LEFT_OUT = Problem(
    "backups.left_out", "{subject}: the backup leaves something out", WARN, NOW,
    "The sentence names what is missing. Give the right to read it or back it up with a plan of its own.",
)  # fmt: skip
SOURCE = Problem(
    "backups.source", "{subject}: something is odd at the source", WARN, NOW,
    "The backup is good; look at the source itself before it is too late. A proven restore makes it the new measure.",
)  # fmt: skip
UNLOCKED = Problem(
    "backups.unlocked", "{subject}: the store did not lock the backup", WARN, NOW,
    "Use a bucket that was made with object lock, or set the plan's lock to 0 days.",
)  # fmt: skip
SAME_DOMAIN = Problem(
    "backups.same_domain", "{subject}: source and store can be lost together", WARN, DAY,
    "Add a store with another provider, or in another account and region, and say in its settings where it is.",
)  # fmt: skip
NO_OWNER = Problem(
    "backups.no_owner", "{subject}: nobody answers for it", WARN, DAY,
    "Choose an owner on the plan's page.",
)  # fmt: skip
PAUSED = Problem(
    "backups.paused", "{subject}: paused for more than a week", WARN, NOW,
    "Resume the plan, or remove it.",
)  # fmt: skip
GOAL_LOSS = Problem(
    "backups.goal_loss", "{subject}: more data could be lost than the goal allows", WARN, SOON,
    "Back up and prove more often, or change the goal.",
    ("backups.failed", "backups.late", "backups.proof_failed", "backups.stale"),
)  # fmt: skip
GOAL_BACK = Problem(
    "backups.goal_back", "{subject}: a restore takes longer than the goal allows", WARN, NOW,
    "Use a faster store or a smaller source, or change the goal.",
)  # fmt: skip
LEFTOVER = Problem(
    "backups.leftover", "{subject}: something of a run could not be removed", WARN, timedelta(hours=1),
    "The sentence names what and where it is. Remove it by hand, or mend what keeps Mainstay from doing so.",
)  # fmt: skip
RECOVERY_KEY = Problem(
    "backups.recovery_key", "The recovery key is not proven", WARN, DAY,
    "An owner prints the recovery key and types a word of it back.",
)  # fmt: skip

PROBLEMS = (
    FAILED, NEVER_RAN, LATE, LOST, EMPTY, SHRUNK, PROOF_FAILED, KEY_LOST, STORE, UNTESTABLE, UNPROVEN, STALE,
    LEFT_OUT, SOURCE, UNLOCKED, SAME_DOMAIN, NO_OWNER, PAUSED, GOAL_LOSS, GOAL_BACK, LEFTOVER, RECOVERY_KEY,
)  # fmt: skip
