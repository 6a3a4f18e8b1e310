"""The addresses of incidents and channels."""

from django.urls import URLPattern, path

from apps.alerts.views import channels, incidents

urlpatterns: list[URLPattern] = [
    path("incidents/", incidents.incidents, name="incidents"),
    path("incidents/<uuid:incident_id>/", incidents.incident, name="incident"),
    path("incidents/<uuid:incident_id>/take/", incidents.acknowledge, name="incident-take"),
    path("incidents/<uuid:incident_id>/note/", incidents.note, name="incident-note"),
    path("incidents/<uuid:incident_id>/close/", incidents.close, name="incident-close"),
    path("channels/", channels.channels, name="channels"),
    path("channels/new/<slug:kind>/", channels.new, name="channel-new"),
    path("channels/proof/<str:token>/", channels.proof, name="channel-proof"),
    path("channels/messages/<uuid:message_id>/again/", channels.again, name="message-again"),
    path("channels/messages/<uuid:message_id>/dismiss/", channels.dismiss, name="message-dismiss"),
    path("channels/<uuid:channel_id>/", channels.channel, name="channel"),
    path("channels/<uuid:channel_id>/change/", channels.change, name="channel-change"),
    path("channels/<uuid:channel_id>/test/", channels.drill, name="channel-test"),
    path("channels/<uuid:channel_id>/pause/", channels.pause, name="channel-pause"),
    path("channels/<uuid:channel_id>/resume/", channels.resume, name="channel-resume"),
    path("channels/<uuid:channel_id>/remove/", channels.remove, name="channel-remove"),
    path("channels/<uuid:channel_id>/key/", channels.key, name="channel-key"),
]
