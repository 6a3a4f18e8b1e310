"""The addresses of the first page, the checklist, search and the heartbeat."""

from django.urls import path

from apps.overview import views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("checklist", views.checklist, name="checklist"),
    path("jump", views.jump, name="jump"),
    path("pulse", views.pulse, name="pulse"),
]
