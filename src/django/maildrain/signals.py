"""What a site can be told of.

message_queued is sent once a message is on the disk for good, with the backend's class as sender,
the message, and its id in the spool. With on_commit that is after the commit. A receiver that
raises changes nothing about that: Django logs its error, as django.dispatch.
"""

from __future__ import annotations

from django.dispatch import Signal

message_queued = Signal()
