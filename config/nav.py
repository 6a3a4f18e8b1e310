"""The pages of the sidebar, in order: label, URL name, icon, action, group, and what flags them."""

from apps.core.jinja import Page
from apps.overview import flags

NAV: tuple[Page, ...] = (
    Page("Overview", "overview", "layout-dashboard", "overview.read", dock=True, words="home first page"),
    Page("Incidents", "incidents", "siren", "alerts.read", dock=True, flag=flags.incidents, words="trouble alerts"),
    Page("Servers", "servers", "server", "servers.read", "Watch", dock=True, words="machines ssh disks updates"),
    Page(
        "Backups",
        "backups",
        "database-backup",
        "backups.read",
        "Protect",
        dock=True,
        flag=flags.plans,
        words="plans restore tests",
    ),
    Page("Stores", "stores", "hard-drive", "backups.read", "Protect", words="bucket s3 folder"),
    Page("Channels", "channels", "send", "alerts.read", "Team", words="e-mail slack webhook"),
    Page("Access", "access", "key-round", "access.read", "Team", words="who reaches what matrix grants ssh"),
    Page("My keys", "my-keys", "key", "access.self", "Team", words="ssh public key"),
    Page("Drift", "access-drift", "git-compare", "access.read", "Team", words="unknown keys"),
    Page("People", "people", "users", "people.read", "Team", words="team roles invite"),
    Page("Audit log", "audit", "scroll-text", "people.audit", "Team", words="who did what"),
    Page("Checklist", "checklist", "list-checks", "overview.read", "Team", words="claims readiness proof"),
)
