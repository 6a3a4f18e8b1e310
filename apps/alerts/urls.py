"""The addresses of incidents and channels."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
