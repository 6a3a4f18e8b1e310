"""Answers for machines: is Mainstay healthy and watching, and which page broke the content security policy."""

import json
import logging

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from apps.core.cache import broker_down
from apps.core.pulse import Heartbeat, heartbeat

log = logging.getLogger(__name__)

REPORT_BYTES = 8 * 1024
REPORT_FIELDS = ("document-uri", "effective-directive", "blocked-uri")


@login_not_required
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """Say whether the database and the broker answer and whether anything is watched. Tells strangers nothing else.

    503 without a database, and when the ticks ended: a watchdog outside then hears what Mainstay itself cannot tell.
    """
    pulse = Heartbeat(None, stale=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        pulse = heartbeat(timezone.now())
        database = True
    except Error:
        database = False
    ended = pulse.at is not None and pulse.stale  # before the first tick nothing has ended yet
    said = {"database": database, "broker": not broker_down(), "watching": not pulse.stale}
    return JsonResponse(said, status=200 if database and not ended else 503)


@csrf_exempt  # browsers send reports without a token; nothing is changed by one
@login_not_required
@require_POST
def csp_report(request: HttpRequest) -> HttpResponse:
    """Log one line about a page that broke the policy. Whatever a stranger sends is shortened and escaped."""
    try:
        body = request.read(REPORT_BYTES + 1)
        report = json.loads(body)["csp-report"] if len(body) <= REPORT_BYTES else {}
        said = {name: str(report.get(name, ""))[:200] for name in REPORT_FIELDS}
    except (ValueError, TypeError, KeyError, AttributeError):
        said = {}
    if any(said.values()):
        page = said["document-uri"].partition("?")[0].partition("#")[0]
        log.warning(
            "a page broke the content security policy: %r %r %r", page, said["effective-directive"], said["blocked-uri"]
        )
    return HttpResponse(status=204)
