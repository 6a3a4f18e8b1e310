"""The recovery key: owner only, after a recent sign-in, audited before it is shown, never cached, never in a URL."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from apps.backups import services
from apps.backups.facts import Trouble
from apps.backups.models import RecoveryKey
from apps.backups.services import Refused
from apps.core.keys import KeyRingError
from apps.people.guard import me, require


@require("backups.recovery_key", recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@sensitive_post_parameters("word")
def recovery_key(request: HttpRequest) -> HttpResponse:
    """Explain the key; show it when asked to; take a word of the paper as proof that it is kept elsewhere."""
    try:
        return _answer(request)
    except (Trouble, KeyRingError) as error:
        return _no_store(render(request, "backups/key_missing.html", {"said": getattr(error, "sentence", str(error))}))


@sensitive_variables("paper", "context")
def _answer(request: HttpRequest) -> HttpResponse:
    act, wrong, paper, now = request.POST.get("act", ""), "", None, timezone.now()
    if request.method == "POST" and act == "show":
        services.showed_recovery_key(actor=me(request))
        paper = services.recovery_key()
    elif request.method == "POST" and act == "prove":
        try:
            services.prove_recovery_key(actor=me(request), word=request.POST.get("word", ""), now=now)
        except Refused as refused:
            wrong = refused.sentence
        else:
            messages.success(request, "The recovery key is proven: your paper opens every backup.")
            return redirect("recovery-key")
    context = {
        "paper": paper,
        "number": 0 if paper else services.asked_word(me(request)),
        "wrong": wrong,
        "proven": services.key_is_proven(),
        "last": RecoveryKey.objects.select_related("person").order_by("-proven_at").first(),
    }
    return _no_store(render(request, "backups/key.html", context, status=422 if wrong else 200))


def _no_store(answer: HttpResponse) -> HttpResponse:
    answer["Cache-Control"] = "no-store"
    return answer
