"""For gunicorn. One mail is sent before it forks its workers, if it loads this before."""

from __future__ import annotations

from django.core.mail import send_mail
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
send_mail("before the fork", "Text", None, ["ops@example.net"])
