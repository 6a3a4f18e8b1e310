"""The addresses of access."""

from django.urls import URLPattern, URLResolver, path

from apps.access.views import drift, grants, keys, leaving

urlpatterns: list[URLPattern | URLResolver] = [
    path("", grants.matrix, name="access"),
    path("grant", grants.new, name="access-grant"),
    path("grants/<uuid:grant_id>/end", grants.end, name="access-grant-end"),
    path("ask", grants.ask, name="access-ask"),
    path("asked/<uuid:asking_id>", grants.answer, name="access-answer"),
    path("servers/<uuid:server_id>/mode", drift.mode, name="access-mode"),
    path("servers/<uuid:server_id>/look", grants.look, name="access-look"),
    path("keys", keys.mine, name="my-keys"),
    path("keys/<uuid:key_id>/remove", keys.remove, name="key-remove"),
    path("drift", drift.index, name="access-drift"),
    path("drift/<uuid:drift_id>", drift.decide, name="access-drift-decide"),
    path("drift/<uuid:drift_id>/reply", drift.reply, name="access-drift-reply"),
    path("leaving", leaving.begin, name="access-leaving"),
    path("leaving/<uuid:departure_id>", leaving.departure, name="access-departure"),
]
