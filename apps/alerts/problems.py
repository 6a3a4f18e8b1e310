"""The kinds of trouble that the alerts room itself raises."""

from datetime import timedelta

from apps.alerts.problem import Problem, Severity

CANNOT_DELIVER = Problem(
    code="alerts.channel",
    title="{subject}: messages do not arrive",
    severity=Severity.BAD,
    patience=timedelta(0),
    advice="Correct the channel, send a test, then send the dead letters again.",
)
UNPROVEN = Problem(
    code="alerts.unproven",
    title="{subject}: nobody has shown that messages arrive",
    severity=Severity.WARN,
    patience=timedelta(days=3),
    advice="Send a test to the channel and click the link in it.",
    depends_on=(CANNOT_DELIVER.code,),
)

PROBLEMS = (CANNOT_DELIVER, UNPROVEN)
