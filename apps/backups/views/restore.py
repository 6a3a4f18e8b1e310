"""Bringing a backup back: into a new, empty place, or as a decrypted download."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.backups import services
from apps.backups.forms import RestoreForm
from apps.backups.models import Restore
from apps.backups.pages import backup as shown
from apps.backups.pages import plan as plan_pages
from apps.backups.services import Refused
from apps.backups.views.backup import the_backup
from apps.people.guard import me, require


@require("backups.restore", recent=True)
@sensitive_post_parameters("source-url", "source-password")
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest, backup_id: UUID) -> HttpResponse:
    """Name a new, empty place and restore into it."""
    backup = the_backup(backup_id)
    if not shown.can_restore(backup):
        messages.warning(request, shown.usable(backup))
        return redirect("backup", backup_id)
    form = RestoreForm(request.POST if request.method == "POST" else None, backup=backup)
    if request.method == "POST":
        if form.is_valid():
            try:
                run = services.ask_restore(actor=me(request), backup=backup, target=form.where(), now=timezone.now())
            except Refused as refused:
                form.put(refused.field, refused.sentence)
            else:
                return redirect("restore", run.pk)
        form.ask_again()
    context = {"backup": backup, "plan": backup.plan, "form": form}
    return render(request, "backups/restore_ask.html", context, status=422 if form.errors else 200)


@require("backups.read")
@require_safe
def page(request: HttpRequest, restore_id: UUID) -> HttpResponse:
    """Show how a restore goes or went."""
    restore = _restore(restore_id)
    active = restore.state in {"waiting", "running"}
    progress = plan_pages.progress(restore, "Restoring", "restore-stop", "restore", timezone.now())
    context = {
        "restore": restore,
        "backup": restore.backup,
        "plan": restore.backup.plan,
        "under": [progress] if active else [],
        "took_seconds": plan_pages.seconds(restore),
    }
    return render(request, "backups/restore.html", context)


@require("backups.restore")
@require_POST
def stop(request: HttpRequest, restore_id: UUID) -> HttpResponse:
    """Stop a restore that is under way."""
    try:
        services.stop(actor=me(request), run=_restore(restore_id))
    except Refused as refused:
        messages.warning(request, refused.sentence)
    return redirect("restore", restore_id)


@require("backups.download", recent=True)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def download(request: HttpRequest, backup_id: UUID) -> HttpResponseBase:
    """Say what a decrypted copy means, then stream it as an attachment; the audit entry is written first."""
    backup = the_backup(backup_id)
    if not shown.can_restore(backup):
        messages.warning(request, shown.usable(backup))
        return redirect("backup", backup_id)
    name = shown.file_name(backup, backup.taken_at)
    if request.method != "POST":
        return render(request, "backups/download.html", {"backup": backup, "plan": backup.plan, "name": name})
    try:
        pieces = services.decrypted(actor=me(request), backup=backup)
    except Refused as refused:
        messages.warning(request, refused.sentence)
        return redirect("backup", backup_id)
    answer = StreamingHttpResponse(pieces, content_type="application/octet-stream")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer


def _restore(restore_id: UUID) -> Restore:
    rows = Restore.objects.select_related("backup__plan__source", "backup__store", "asked_by")
    found: Restore = get_object_or_404(rows, pk=restore_id)
    return found
