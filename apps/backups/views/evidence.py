"""The evidence page of one restore test."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from apps.backups import services
from apps.backups.models import RestoreTest
from apps.backups.pages import ladder
from apps.backups.pages import plan as plan_pages
from apps.backups.services import Refused
from apps.core import words
from apps.core.jinja import zone
from apps.people.guard import me, require

ROWS_SHOWN = 40


def _test(test_id: UUID) -> RestoreTest:
    rows = RestoreTest.objects.select_related("plan__source", "backup__store", "asked_by")
    found: RestoreTest = get_object_or_404(rows, pk=test_id)
    return found


@require("backups.read")
@require_safe
def page(request: HttpRequest, test_id: UUID) -> HttpResponse:
    """Show what was done, what was compared, and what this test cannot see."""
    test, now = _test(test_id), timezone.now()
    active = test.state in {"waiting", "running"}
    tz = zone(me(request).time_zone)
    compared = sorted(test.compared, key=lambda row: (bool(row[3]), -(row[1] or 0), row[0]))
    everything = request.GET.get("all") == "1"
    earlier = test.plan.restore_tests.settled().exclude(pk=test.pk).defer("compared", "log")[:6]
    context = {
        "test": test,
        "plan": test.plan,
        "backup": test.backup,
        "badge": ladder.result(test),
        "seal": ladder.seal(test, words.moment(test.finished_at or test.created_at, tz)),
        "steps": ladder.ladder(test),
        "under": [plan_pages.progress(test, "Testing a restore", "restore-test-stop", "restore-test", now)]
        if active
        else [],
        "compared": compared if everything else compared[:ROWS_SHOWN],
        "compared_all": len(compared),
        "unequal": sum(not row[3] for row in compared),
        "unseen": ladder.unseen(test.plan.source.kind),
        "tools": sorted(test.tools.items()),
        "total_seconds": plan_pages.seconds(test),
        "earlier": [(other, *ladder.result(other), *ladder.reached(other)) for other in earlier],
    }
    return render(request, "backups/evidence.html", context)


@require("backups.run")
@require_POST
def stop(request: HttpRequest, test_id: UUID) -> HttpResponse:
    """Stop a restore test that is under way."""
    test = _test(test_id)
    try:
        services.stop(actor=me(request), run=test)
    except Refused as refused:
        messages.warning(request, refused.sentence)
    return redirect("plan", test.plan_id)
