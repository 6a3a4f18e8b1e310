"""The addresses of people and of sign-in."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
