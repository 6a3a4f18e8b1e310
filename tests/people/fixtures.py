"""Plain fixtures that the root conftest imports: clients of each role, and a test database whose audit log can be emptied."""

from collections.abc import Iterator

import pytest
from django.db import connection

from apps.people.audit import guard_sql, unguard_sql


@pytest.fixture(autouse=True, scope="session")
def audit_can_be_emptied(django_db_setup: None) -> Iterator[None]:  # noqa: ARG001 the database must exist first
    """Let pytest-django empty the tables after a test of its own transactions: the guard comes off for that moment only."""
    operations = type(connection.ops)
    flush = operations.execute_sql_flush

    def execute_sql_flush(self: object, sql_list: list[str]) -> None:
        with connection.cursor() as cursor:
            for statement in unguard_sql(connection.vendor):
                cursor.execute(statement)
            flush(self, sql_list)
            for statement in guard_sql(connection.vendor):
                cursor.execute(statement)

    operations.execute_sql_flush = execute_sql_flush  # type: ignore[assignment, method-assign]
    yield
    operations.execute_sql_flush = flush  # type: ignore[method-assign]
