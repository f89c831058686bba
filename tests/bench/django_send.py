#!/usr/bin/python3
"""Django's SMTP backend at its best: one connection, messages that are ready when the clock starts.

django_send.py REPORT COUNT LENGTH PORT TLS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import List

import django
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

ADDRESS = "user@example.test"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _messages(count: int, length: int) -> List[EmailMessage]:
    body = ("X" * 78 + "\n") * (length // 80)
    return [EmailMessage("bench", body, ADDRESS, [ADDRESS]) for _ in range(count)]


def main(report: str, count: str, length: str, port: str, tls: str) -> None:
    settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT=int(port), EMAIL_USE_SSL=tls == "1")
    django.setup()
    messages = _messages(int(count), int(length))
    connection = get_connection("django.core.mail.backends.smtp.EmailBackend")
    cpu, start = _cpu(), time.monotonic()
    sent = connection.send_messages(messages)
    wall, cpu = time.monotonic() - start, _cpu() - cpu
    if sent != len(messages):
        sys.exit(f"sent {sent} of {len(messages)}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with open(report, "w", encoding="ascii") as file:
        json.dump({"wall": wall, "cpu": cpu, "memory": memory}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
