"""One backup: its facts and figures, a test of it, and its recovery steps on paper."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from apps.backups import services
from apps.backups.models import Backup
from apps.backups.pages import backup as shown
from apps.backups.pages import ladder
from apps.backups.pages import plan as plan_pages
from apps.backups.services import Refused
from apps.people.guard import me, require


def the_backup(backup_id: UUID) -> Backup:
    """Return a backup with what its pages need."""
    rows = Backup.objects.select_related("plan__source", "store", "asked_by")
    found: Backup = get_object_or_404(rows, pk=backup_id)
    return found


@require("backups.read")
@require_safe
def page(request: HttpRequest, backup_id: UUID) -> HttpResponse:
    """Show one backup."""
    backup, now = the_backup(backup_id), timezone.now()
    active = backup.state in {"waiting", "running"}
    context = {
        "backup": backup,
        "plan": backup.plan,
        "badge": plan_pages.backup_result(backup),
        "took_seconds": plan_pages.seconds(backup),
        "under": [plan_pages.progress(backup, "Backing up", "backup-stop", "backup", now)] if active else [],
        "recorded": shown.recorded(backup),
        "cannot": "" if active else shown.usable(backup),
        "can_restore": shown.can_restore(backup),
        "tests": [
            (test, *ladder.result(test), *ladder.reached(test))
            for test in backup.restore_tests.order_by("-created_at").defer("compared", "log")[:10]
        ],
    }
    return render(request, "backups/backup.html", context)


@require("backups.run")
@require_POST
def stop(request: HttpRequest, backup_id: UUID) -> HttpResponse:
    """Stop a backup that is under way."""
    backup = the_backup(backup_id)
    try:
        services.stop(actor=me(request), run=backup)
    except Refused as refused:
        messages.warning(request, refused.sentence)
    return redirect("plan", backup.plan_id)


@require("backups.run")
@require_POST
def test(request: HttpRequest, backup_id: UUID) -> HttpResponse:
    """Test a restore of this backup."""
    backup = the_backup(backup_id)
    try:
        run = services.test_now(actor=me(request), backup=backup, now=timezone.now())
    except Refused as refused:
        messages.warning(request, refused.sentence)
        return redirect("backup", backup_id)
    return redirect("restore-test", run.pk)


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not take the view for a test


@require("backups.read")
@require_safe
def steps(request: HttpRequest, backup_id: UUID) -> HttpResponse:
    """Show the recovery steps of a backup as a paper: object, digests, commands, and no key."""
    backup = the_backup(backup_id)
    try:
        paper = services.recovery_steps(backup=backup)
    except Refused as refused:
        messages.warning(request, refused.sentence)
        return redirect("backup", backup_id)
    return render(request, "backups/steps.html", {"backup": backup, "plan": backup.plan, "paper": paper})
