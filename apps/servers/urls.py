"""The addresses of the servers room."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
