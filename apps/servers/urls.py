"""The addresses of servers."""

from django.urls import URLPattern, URLResolver, path

from apps.servers.views import connect, page

urlpatterns: list[URLPattern | URLResolver] = [
    path("", page.index, name="servers"),
    path("new", connect.new, name="server-new"),
    path("own-address", connect.own, name="server-own"),
    path("<uuid:server_id>", page.server, name="server"),
    path("<uuid:server_id>/charts", page.charts, name="server-charts"),
    path("<uuid:server_id>/limits", page.limits, name="server-limits"),
    path("<uuid:server_id>/edit", connect.edit, name="server-edit"),
    path("<uuid:server_id>/connect", connect.connect, name="server-connect"),
    path("<uuid:server_id>/look", connect.look, name="server-look"),
    path("<uuid:server_id>/pin", connect.pin, name="server-pin"),
    path("<uuid:server_id>/keep", connect.keep, name="server-keep"),
    path("<uuid:server_id>/level", connect.level, name="server-level"),
    path("<uuid:server_id>/remove", connect.remove, name="server-remove"),
]
