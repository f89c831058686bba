"""Open a ticket, answer it, look at it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from . import notify
from .models import Comment, Ticket


@require_POST
def submit(request: HttpRequest) -> HttpResponse:
    data = request.POST
    ticket = Ticket.objects.create(
        title=data["title"], submitter=data["submitter"], assignee=data.get("assignee", "")
    )
    for address in data.getlist("watcher"):
        ticket.watchers.create(address=address)
    notify.opened(ticket, _comment(request, ticket))
    return _to(ticket)


@require_POST
def answer(request: HttpRequest, number: int) -> HttpResponse:
    ticket = get_object_or_404(Ticket, pk=number)
    ticket.is_open = "close" not in request.POST
    ticket.save()
    notify.updated(_comment(request, ticket))
    if "crash" in request.POST:
        raise RuntimeError("after the mail was sent")
    return _to(ticket)


def show(request: HttpRequest, number: int) -> HttpResponse:
    ticket = get_object_or_404(Ticket, pk=number)
    lines = [ticket.title, "open" if ticket.is_open else "closed"]
    lines += [comment.text for comment in ticket.comments.order_by("pk")]
    return HttpResponse("\n".join(lines), content_type="text/plain; charset=utf-8")


def _comment(request: HttpRequest, ticket: Ticket) -> Comment:
    comment: Comment = ticket.comments.create(text=request.POST["text"])
    for file in request.FILES.getlist("file"):
        comment.uploads.create(name=file.name, content=file.read())
    return comment


def _to(ticket: Ticket) -> HttpResponse:
    return HttpResponseRedirect(f"/{ticket.pk}/")
