"""Tickets, what is said about them, and who wants to know."""

from __future__ import annotations

from django.db import models


class Ticket(models.Model):
    title = models.CharField(max_length=200)
    submitter = models.EmailField()
    assignee = models.EmailField(blank=True)
    is_open = models.BooleanField(default=True)

    @property
    def message_id(self) -> str:
        """That of the first mail about it, which the others answer."""
        return f"<ticket-{self.pk}@help.example.com>"


class Watcher(models.Model):
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="watchers")
    address = models.EmailField()


class Comment(models.Model):
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="comments")
    text = models.TextField()


class Upload(models.Model):
    comment = models.ForeignKey(Comment, models.CASCADE, related_name="uploads")
    name = models.CharField(max_length=200)
    content = models.BinaryField()
