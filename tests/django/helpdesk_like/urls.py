"""The pages."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("submit/", views.submit),
    path("<int:number>/", views.show),
    path("<int:number>/answer/", views.answer),
]
