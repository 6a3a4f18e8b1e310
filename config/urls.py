"""Every address of Mainstay, one line a room."""

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("apps.overview.urls")),
    path("", include("apps.core.urls")),
    path("", include("apps.people.urls")),
    path("", include("apps.alerts.urls")),
    path("servers/", include("apps.servers.urls")),
    path("access/", include("apps.access.urls")),
    path("backups/", include("apps.backups.urls")),
]
