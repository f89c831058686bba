"""Who gets which mail about a ticket."""

from __future__ import annotations

from typing import Dict, Iterator, Tuple

from django.core.mail import EmailMultiAlternatives
from django.template import engines

from .models import Comment, Ticket

ARCHIVE = "archive@example.com"

# Subject, text and HTML by occasion; a help desk lets its staff edit these.
WORDS = {
    "opened": (
        "({{ ticket.pk }}) We have your question: {{ ticket.title }}",
        "Thank you for writing.\n\n{{ comment.text }}\n",
        "<p>Thank you for writing.</p><blockquote>{{ comment.text }}</blockquote>\n",
    ),
    "assigned": (
        "({{ ticket.pk }}) For you: {{ ticket.title }}",
        "Please answer {{ ticket.submitter }}:\n\n{{ comment.text }}\n",
        "<p>Please answer {{ ticket.submitter }}:</p><blockquote>{{ comment.text }}</blockquote>\n",
    ),
    "updated": (
        "({{ ticket.pk }}) News: {{ ticket.title }}",
        "{{ comment.text }}\n\n-- \nHelp Desk\n",
        "<p>{{ comment.text }}</p><p>Help Desk</p>\n",
    ),
}


def opened(ticket: Ticket, comment: Comment) -> None:
    headers = {"Message-ID": ticket.message_id, "Auto-Submitted": "auto-replied"}
    _send("opened", ticket.submitter, comment, headers, is_automatic=True)
    if ticket.assignee:
        _send("assigned", ticket.assignee, comment, {"In-Reply-To": ticket.message_id})
    _tell_watchers(comment)


def updated(comment: Comment) -> None:
    _send("updated", comment.ticket.submitter, comment, {"In-Reply-To": comment.ticket.message_id})
    _tell_watchers(comment)


def _tell_watchers(comment: Comment) -> None:
    for watcher in comment.ticket.watchers.order_by("pk"):
        _send("updated", watcher.address, comment, {"In-Reply-To": comment.ticket.message_id})


def _send(
    occasion: str, to: str, comment: Comment, headers: Dict[str, str], is_automatic: bool = False
) -> None:
    subject, text, html = _rendered(occasion, comment)
    bcc = [] if is_automatic else [ARCHIVE]
    message = EmailMultiAlternatives(subject, text, None, [to], bcc=bcc, headers=headers)
    message.attach_alternative(html, "text/html")
    for upload in comment.uploads.order_by("pk"):
        message.attach(upload.name, bytes(upload.content))
    message.send()


def _rendered(occasion: str, comment: Comment) -> Iterator[str]:
    context = {"ticket": comment.ticket, "comment": comment}
    words: Tuple[str, ...] = WORDS[occasion]
    return (engines["django"].from_string(text).render(context) for text in words)
