"""Real Django mail through real SMTP, on this machine, with nothing to configure.

    demo.py PROGRAM

Makes a spool in a temporary folder, lets Django send six mails, starts an SMTP server on loopback,
drains the spool, and shows with ls what became of each. Removes the folder at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import List

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "src/django"), str(REPO / "tests")]

from django.conf import settings  # noqa: E402
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection  # noqa: E402

from lab.aiosmtp import AioServer  # noqa: E402

CONFIG = """\
spool = "{spool}"
relay "demo" {{
  url = "{url}"
  tls = "none"          # it is loopback; the default is "required"
}}
"""


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def shell(command: str, cwd: Path) -> int:
    """Shows a command and what it prints; returns its exit status."""
    print(f"$ {command}", flush=True)
    return subprocess.run(
        command, shell=True, cwd=cwd, check=False, stderr=subprocess.STDOUT
    ).returncode


def six_mails() -> List[EmailMessage]:
    shop = "Shop <shop@example.com>"
    ticket = EmailMultiAlternatives("Ticket 17", "See the HTML.", shop, ["anna@example.net"])
    ticket.attach_alternative("<p>See the <b>invoice</b>.</p>", "text/html")
    ticket.attach("invoice.pdf", b"%PDF-1.4 not really", "application/pdf")
    return [
        EmailMessage("Password reset", "Here is your link.", shop, ["ben@example.net"]),
        ticket,
        EmailMessage("Minutes", "As agreed.", shop, ["carl@example.net"], ["boss@example.net"]),
        EmailMessage("Grüße aus Köln", "Schönes Wetter.", shop, ["dora@bücher.example"]),
        EmailMessage("To nobody", "You won't get this.", shop, ["refuse@example.net"]),
        EmailMessage("To a slow server", "In a while.", shop, ["defer@example.net"]),
    ]


def send_from_django(spool: Path) -> None:
    settings.configure(
        EMAIL_BACKEND="maildrain.filebased.EmailBackend", EMAIL_FILE_PATH=str(spool)
    )
    started = time.monotonic()
    sent = get_connection().send_messages(six_mails())
    print(f"Django sent {sent} mails in {(time.monotonic() - started) * 1000:.0f} ms.")


def show_received(server: AioServer) -> None:
    for message in server.messages:
        subject = message_from_bytes(message.data, policy=default)["Subject"]
        print(f"  {subject:<26} for {', '.join(message.recipients)}")


def demo(program: Path, home: Path) -> int:
    spool = home / "spool"
    config = home / "maildrain.conf"
    run = f"maildrain -c {config.name} run --verbose"
    os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    os.environ["QUOTING_STYLE"] = "literal"  # of ls

    say("A spool, and six mails that Django drops into it. No mail server is running yet.")
    shell("maildrain init spool", home)
    send_from_django(spool)
    shell("ls spool/new", home)

    with AioServer() as server:
        config.write_text(CONFIG.format(spool=spool, url=server.url))
        say("Now there is a server. One run sends what is due; each line is one recipient's result.")
        status = shell(run, home)

        say("The name is the record: sent mail is in cur/, given up in failed/, deferred in new/.")
        shell("ls -1 spool/cur spool/failed spool/new", home)
        print("A= attempts so far, E= the server's status, T= not before this time, S sent.")
        print("The name that ends in .failure is a mail that tells the sender of the refusal.")
        shell(f"maildrain -c {config.name} list", home)
        shell(f"maildrain -c {config.name} status", home)

        say("The server would take the deferred one now. T= says wait; renaming it away says now.")
        server.answers["defer@example.net"] = "250 2.1.5 Ok"
        shell('cd spool/new && for f in *,T=*; do mv "$f" "${f%,T=*}"; done; ls', home)
        shell(run, home)
        shell("ls -1 spool/new", home)

        say("What the server has received (a Bcc is a recipient, and in no header):")
        show_received(server)
        received = len(server.messages)
    arrived = received == 6 and not list((spool / "new").iterdir())
    say("That was all of it." if arrived else "Something went wrong: 6 mails should have arrived.")
    return 0 if arrived and status == 0 else 1


def main() -> int:
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="maildrain-demo-") as home:
        return demo(program, Path(home))


if __name__ == "__main__":
    sys.exit(main())
