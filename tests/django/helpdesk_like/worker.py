"""For Celery: a task that sends mail. The broker is a folder."""

from __future__ import annotations

import os
from pathlib import Path

import django
from celery import Celery

django.setup()

QUEUE = Path(os.environ["DESK_QUEUE"])
QUEUE.mkdir(exist_ok=True)

app = Celery("desk", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(QUEUE),
    "data_folder_out": str(QUEUE),
    "control_folder": str(QUEUE),
}
app.conf.worker_hijack_root_logger = False


@app.task
def remind(number: int) -> str:
    import maildrain
    from django.core.mail import EmailMessage

    return maildrain.send(EmailMessage(f"Reminder {number}", "Text", None, ["a@example.net"]))
