"""Addresses for people's tests while another room does not import."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from apps.people.guard import require


@require("overview.read")
def overview(request: HttpRequest) -> HttpResponse:
    return HttpResponse("overview")


urlpatterns = [
    path("", overview, name="overview"),
    path("jump", overview, name="jump"),
    path("pulse", overview, name="pulse"),
    path("", include("apps.core.urls")),
    path("", include("apps.people.urls")),
]
