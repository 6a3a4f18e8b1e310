"""A pytest plugin for CI: a skipped test fails the run, because there nothing may be skipped."""

from typing import Any

skipped: list[str] = []


def pytest_runtest_logreport(report: Any) -> None:
    """Remember each test that was skipped."""
    if report.skipped and not hasattr(report, "wasxfail"):
        skipped.append(report.nodeid)


def pytest_collectreport(report: Any) -> None:
    """Remember each file that was skipped whole."""
    if report.skipped:
        skipped.append(report.nodeid)


def pytest_sessionfinish(session: Any) -> None:
    """Fail the run."""
    if skipped and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which tests were skipped."""
    if skipped:
        terminalreporter.section("skipped, which CI does not allow")
        for name in sorted(set(skipped)):
            terminalreporter.line(name)
