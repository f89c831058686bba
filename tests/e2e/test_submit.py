"""maildrain as sendmail: what programs of the host hand in, with their own arguments and input.

Where Debian has such a program it is called itself. What it handed in then goes to a server, and is
compared there.
"""

from __future__ import annotations

import contextlib
import email
import email.header
import email.policy
import email.utils
import os
import pty
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest

from faults.inject import Place, places
from lab import repo
from lab.aiosmtp import AioServer, Received
from lab.measure import have_strace, trace
from lab.namespace import private
from lab.spool import Spool

EX_USAGE, EX_DATAERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 65, 75, 77, 78
DOMAIN = "shop.example"
LOGIN = pwd.getpwuid(os.getuid()).pw_name
ME = f"{LOGIN}@{DOMAIN}"
MIB = 1 << 20

Servers = Callable[..., AioServer]
Done = "subprocess.CompletedProcess[str]"


class Desk:
    """A spool, and a program "sendmail" that queues into it."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.sendmail = spool.config.parent / "sendmail"
        command = " ".join(f"'{word}'" for word in spool.argv("submit"))
        self.sendmail.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        self.sendmail.chmod(0o755)
        self.aim("smtp://127.0.0.1:1")

    def aim(self, url: str, **options: str) -> None:
        self.spool.write_config({"domain": DOMAIN, **options}, url=url, tls="none")

    def submit(self, *args: str, text: bytes = b"Subject: x\n\ntext\n", **how: Any) -> Done:
        return subprocess.run(
            [str(self.sendmail), *args],
            input=text,
            capture_output=True,
            timeout=60,
            **how,
        )

    def queue(self, *args: str, text: bytes = b"Subject: x\n\ntext\n", **how: Any) -> bytes:
        """Queues TEXT and returns the file."""
        done = self.submit(*args, text=text, **how)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return self.file()

    def refuse(self, status: int, *args: str, text: bytes = b"Subject: x\n\n") -> str:
        """Hands in what must be refused with STATUS; nothing of it stays. Returns the words."""
        done = self.submit(*args, text=text)
        assert done.returncode == status, done.stderr
        assert done.stdout == b"" and done.stderr.startswith(b"maildrain: ")
        assert set(self.spool.counts().values()) == {0}
        return str(done.stderr.decode())

    def file(self) -> bytes:
        """The one message that is queued."""
        assert self.spool.counts() == {"tmp": 0, "new": 1, "cur": 0, "failed": 0}
        (name,) = self.spool.ls()["new"]
        return (self.spool.path / "new" / name).read_bytes()

    def deliver(self, server: AioServer) -> Received:
        """Sends the one message that is queued; returns what SERVER got."""
        self.aim(server.url)
        done = self.spool.run()
        assert done.returncode == 0, done.stderr
        assert self.spool.counts() == {"tmp": 0, "new": 0, "cur": 1, "failed": 0}, done.stderr
        (message,) = server.messages
        return message


@pytest.fixture
def desk(spool: Spool) -> Desk:
    return Desk(spool)


def split(file: bytes) -> Tuple[List[str], bytes]:
    """Our block, and what follows it."""
    lines = file.splitlines(keepends=True)
    count = next(n for n, line in enumerate(lines) if not line.startswith(b"X-Maildrain-"))
    return [line.decode().rstrip("\n") for line in lines[:count]], b"".join(lines[count:])


def block(sender: str, *to: str) -> List[str]:
    return [f"X-Maildrain-From: <{sender}>", *(f"X-Maildrain-To: <{address}>" for address in to)]


def own_fields(text: bytes) -> Dict[str, str]:
    """The fields that are made here, taken from the header of TEXT."""
    header = email.message_from_bytes(text)
    return {name: str(header[name]) for name in ("Received", "From", "Date", "Message-ID")}


def without_trace(message: bytes) -> bytes:
    """MESSAGE without the Received field that is its first."""
    match = re.match(rb"Received: by \S+ \(maildrain, from userid \d+\)\r?\n\t[^\n]*\n", message)
    assert match, message
    return message[match.end() :]


@contextlib.contextmanager
def started(argv: Sequence[str], **how: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A program at work, ended at the latest when the test is."""
    how.setdefault("stdin", subprocess.PIPE)
    with subprocess.Popen(argv, **how) as child:
        try:
            yield child
        finally:
            child.kill()


# What is queued


def test_a_letter_becomes_a_file(desk: Desk) -> None:
    before = time.time()
    found, rest = split(desk.queue("bob@example.net", text=b"Subject: x\nTo: Bob\n\ntext\n"))
    assert found == block(ME, "bob@example.net")
    made = own_fields(rest)
    name = desk.spool.ls()["new"][0]
    host = re.escape(socket.gethostname())
    assert re.fullmatch(
        rf"by {host} \(maildrain, from userid {os.getuid()}\)\n\tid {name}; (.*)", made["Received"]
    )
    assert email.utils.parseaddr(made["From"])[1] == ME
    assert made["Message-ID"] == f"<{name}@{DOMAIN}>"
    date = email.utils.parsedate_to_datetime(made["Date"]).timestamp()
    assert before - 1 <= date <= time.time()
    kept = b"Subject: x\nTo: Bob@shop.example\n"
    assert without_trace(rest).startswith(kept + b"From: ") and rest.endswith(b">\n\ntext\n")
    header = rest.partition(b"\n\n")[0].decode()
    assert re.findall(r"^([\w-]+):", header, re.MULTILINE) == [
        *("Received", "Subject", "To", "From", "Date", "Message-ID")
    ]


def test_a_letter_is_sent(desk: Desk, aio_server: Servers) -> None:
    letter = b"From: a@example.com\nDate: x\nMessage-ID: <1@x>\n\nA.\n..\n.b\n\xff\0\n"
    desk.queue("-i", "-f", "s@example.com", "bob@example.net", "eve@example.net", text=letter)
    got = desk.deliver(aio_server())
    assert got.sender == "s@example.com"
    assert got.recipients == ("bob@example.net", "eve@example.net")
    assert without_trace(got.data) == letter.replace(b"\n", b"\r\n")


def test_fields_that_are_there_are_kept(desk: Desk) -> None:
    letter = b"Date: today\r\nFROM: a@b\r\nmessage-id: <1@x>\r\n\r\ntext\r\n"
    rest = split(desk.queue("bob@example.net", text=letter))[1]
    # Our own empty line is not the sender's.
    assert without_trace(rest) == letter.replace(b"\r\n\r\n", b"\r\n\n")


@pytest.mark.parametrize("text", [b"hello\nworld\n", b"hello", b"\nhello\n", b" Folded: x\n"])
def test_a_text_without_header_gets_one(desk: Desk, aio_server: Servers, text: bytes) -> None:
    desk.queue("root", text=text)
    got = desk.deliver(aio_server())
    message = email.message_from_bytes(got.data)
    assert message.keys() == ["Received", "From", "Date", "Message-ID"]
    assert got.data.endswith(b">\r\n\r\n" + text.strip(b"\n").replace(b"\n", b"\r\n") + b"\r\n")


def test_an_empty_message(desk: Desk) -> None:
    assert split(desk.queue("root", text=b""))[1].endswith(b">\n\n")


def test_a_line_that_is_no_field_ends_the_header(desk: Desk) -> None:
    file = desk.queue("root", text=b"Subject: x\nno field\nTo: y\n\n")
    header, _, body = split(file)[1].partition(b"\n\n")
    assert body == b"no field\nTo: y\n\n" and b"Subject: x\n" in header


def test_lines_of_a_mailbox_file_are_dropped(desk: Desk) -> None:
    text = b"From a@b Mon Jan  1 00:00:00 2026\n>From c\nSubject: x\n\nFrom here on\n"
    rest = without_trace(split(desk.queue("root", text=text))[1])
    assert rest.startswith(b"Subject: x\nFrom: ") and rest.endswith(b"\n\nFrom here on\n")


DOTS = b"Subject: x\n\na\n.\nb\n..\n"


@pytest.mark.parametrize(
    "options, expected",
    [
        ((), b"a\n"),
        (("-odi",), b"a\n"),
        (("-OIgnoreDots=false",), b"a\n"),
        (("-i",), b"a\n.\nb\n..\n"),
        (("-oi",), b"a\n.\nb\n..\n"),
        (("-o", "i"), b"a\n.\nb\n..\n"),
        (("-ti",), b"a\n.\nb\n..\n"),
        (("-O", "IgnoreDots"), b"a\n.\nb\n..\n"),
        (("-Oignoredots=true",), b"a\n.\nb\n..\n"),
    ],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_dot_ends_the_message(
    desk: Desk, options: Sequence[str], expected: bytes, newline: bytes
) -> None:
    file = desk.queue(*options, "root", text=DOTS.replace(b"\n", newline))
    body = file.partition(b"\n\n")[2]
    assert body.replace(b"\r\n", b"\n") == expected


def test_a_dot_in_the_header_ends_the_message(desk: Desk) -> None:
    rest = split(desk.queue("root", text=b"Subject: x\n.\nTo: y\n\nb\n"))[1]
    assert rest.endswith(b"\n\n") and b"To: y" not in rest


def test_a_dot_ends_it_while_more_may_come(desk: Desk) -> None:
    """As on a terminal: nobody closes the input."""
    with started([str(desk.sendmail), "root"]) as child:
        assert child.stdin is not None
        child.stdin.write(b"Subject: x\n\na\n.\n")
        child.stdin.flush()
        assert child.wait(30) == 0
    assert desk.file().endswith(b"\n\na\n")


# Senders


def sender_of(file: bytes) -> str:
    return split(file)[0][0]


@pytest.mark.parametrize(
    "options, sender",
    [
        ((), ME),
        (("-f", "a@example.com"), "a@example.com"),
        (("-fa@example.com",), "a@example.com"),
        (("-r", "A B <a@example.com>"), "a@example.com"),
        (("-f", "cron"), f"cron@{DOMAIN}"),
        (("-f", ""), ""),
        (("-f", "<>"), ""),
        (("-fa@b", "-fc@d"), "c@d"),
    ],
)
def test_envelope_sender(desk: Desk, options: Sequence[str], sender: str) -> None:
    assert sender_of(desk.queue(*options, "root")) == f"X-Maildrain-From: <{sender}>"


@pytest.mark.parametrize(
    "options, author",
    [
        (("-F", "Jo Doe"), f"Jo Doe <{ME}>"),
        (("-FDoe, Jo",), f'"Doe, Jo" <{ME}>'),
        (("-FJörg",), f"=?UTF-8?Q?J=C3=B6rg?= <{ME}>"),
        (("-F", ""), f"<{ME}>"),
        (("-f", "a@example.com"), "<a@example.com>"),
        (("-f", "a@example.com", "-FJo"), "Jo <a@example.com>"),
        (("-f", "", "-FJo"), f"Jo <{ME}>"),
    ],
)
def test_from_is_made(desk: Desk, options: Sequence[str], author: str) -> None:
    file = desk.queue(*options, "root")
    assert own_fields(split(file)[1])["From"] == author
    assert b"\nFrom: " + author.encode() + b"\n" in file


def test_full_name_of_the_login(desk: Desk) -> None:
    user = pwd.getpwuid(os.getuid())
    name = user.pw_gecos.split(",")[0].replace("&", user.pw_name.capitalize())
    made = own_fields(split(desk.queue("root"))[1])["From"]
    assert email.utils.parseaddr(made) == (name, ME)


def test_a_from_that_is_there_is_not_changed_by_options(desk: Desk) -> None:
    text = b"From: X <x@example.com>\n\n"
    rest = split(desk.queue("-FJo", "-fa@example.com", "root", text=text))[1]
    assert email.message_from_bytes(rest).get_all("From") == ["X <x@example.com>"]


# Recipients


def recipients_of(file: bytes) -> List[str]:
    return [line[len("X-Maildrain-To: <") : -1] for line in split(file)[0][1:]]


HEADER = b"To: Bob <bob@example.net>, kim\nCc: eve@example.net\nBcc: h@example.net,\n i\n\ntext\n"


def test_recipients_of_the_header(desk: Desk) -> None:
    file = desk.queue("-t", "more@example.net", "eve@example.net", text=HEADER)
    assert recipients_of(file) == [
        *("more@example.net", "eve@example.net", "bob@example.net"),
        *(f"kim@{DOMAIN}", "h@example.net", f"i@{DOMAIN}"),
    ]
    assert b"Bcc" not in file and b"h@example.net" not in split(file)[1]
    assert b"To: Bob <bob@example.net>, kim@shop.example\nCc: eve@example.net\n" in file


def test_without_t_the_header_does_not_count(desk: Desk) -> None:
    file = desk.queue("more@example.net", text=HEADER)
    assert recipients_of(file) == ["more@example.net"]
    assert b"h@example.net" not in file


def test_a_message_that_is_sent_on(desk: Desk) -> None:
    text = b"Resent-To: new@example.net\nResent-Bcc: two@example.net\n" + HEADER
    file = desk.queue("-t", text=text)
    assert recipients_of(file) == ["new@example.net", "two@example.net"]
    assert b"two@" not in split(file)[1]


def test_words_are_lists(desk: Desk) -> None:
    file = desk.queue("Bob <b@example.net>, kim", '"Doe, J" <j@example.net>')
    assert recipients_of(file) == ["b@example.net", f"kim@{DOMAIN}", "j@example.net"]


def test_local_names_get_a_domain(desk: Desk, aio_server: Servers) -> None:
    text = b"From: root (Cron Daemon)\nTo: root\nSubject: root\n"
    text += b"Date: x\nMessage-ID: <1@x>\n\nroot\n"
    desk.queue("root", text=text)
    got = desk.deliver(aio_server())
    assert (got.sender, got.recipients) == (ME, (f"root@{DOMAIN}",))
    assert without_trace(got.data) == (
        b"From: root@shop.example (Cron Daemon)\r\nTo: root@shop.example\r\n"
        b"Subject: root\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nroot\r\n"
    )


def test_the_domain_is_that_of_the_host_without_a_setting(desk: Desk) -> None:
    desk.spool.write_config({}, url="smtp://127.0.0.1:1", tls="none")
    mailname = Path("/etc/mailname")
    name = mailname.read_text().split()[0] if mailname.exists() else socket.gethostname()
    assert recipients_of(desk.queue("root")) == [f"root@{name}"]


@pytest.mark.parametrize(
    "args, words",
    [
        (("two words",), '"two words"'),
        (("ok@example.net", "a@b@c"), "a@b@c"),
        (("a@",), "a@"),
        (("a\x01@example.net",), '"a?@example.net"'),
        (("-f", "a b@c", "ok@example.net"), "a b@c"),
        (("-f", "a@b, c@d", "ok@example.net"), "a sender is one address"),
        (("x" * 250,), "more than 254 bytes"),
    ],
)
def test_faulty_addresses_are_refused(desk: Desk, args: Sequence[str], words: str) -> None:
    said = desk.refuse(EX_DATAERR, *args)
    assert words in said and "nothing is queued" in said


def test_faulty_addresses_of_the_header_are_refused(desk: Desk) -> None:
    assert '"no one"' in desk.refuse(EX_DATAERR, "-t", text=b"To: a@b, no one\n\n")
    assert "not closed" in desk.refuse(EX_DATAERR, "-t", "a@b", text=b'Cc: "x <a@b>\n\n')


def test_no_recipient(desk: Desk) -> None:
    assert "who it is for" in desk.refuse(EX_USAGE)
    assert "no recipient" in desk.refuse(EX_USAGE, "-t")
    assert "no recipient" in desk.refuse(EX_USAGE, "-t", text=b"To: nobody:;\n\n")
    assert "no recipient" in desk.refuse(EX_USAGE, "")


def test_too_many_recipients(desk: Desk) -> None:
    many = ",".join(f"{n}@example.net" for n in range(10_001))
    text = b"To: " + many.replace(",", ",\n ").encode() + b"\n\n"
    assert "more than 10000" in desk.refuse(EX_DATAERR, "-t", text=text)


# Options


@pytest.mark.parametrize(
    "options",
    [
        ("-Am",),
        ("-Ac",),
        ("-B", "8BITMIME"),
        ("-B7BIT",),
        ("-G",),
        ("-L", "tag"),
        ("-N", "never"),
        ("-Nfailure,delay",),
        ("-O", "DeliveryMode=b"),
        ("-R", "hdrs"),
        ("-U",),
        ("-V", "id"),
        ("-bm",),
        ("-d0.1",),
        ("-em",),
        ("-h", "5"),
        ("-m",),
        ("-n",),
        ("-o7",),
        ("-oAfile",),
        ("-odb",),
        ("-oem",),
        ("-oee",),
        ("-p", "smtp:host"),
        ("-v", "-v"),
        ("-x",),
        ("--",),
    ],
)
def test_options_without_effect(desk: Desk, options: Sequence[str]) -> None:
    file = desk.queue(*options, "bob@example.net")
    assert split(file)[0] == block(ME, "bob@example.net")


@pytest.mark.parametrize(
    "options, words",
    [
        (("-bs",), "-bs"),
        (("-bd",), "-bd"),
        (("-bD",), "-bD"),
        (("-bt",), "-bt"),
        (("-bv",), "-bv"),
        (("-bpx",), "-bpx"),
        (("-q",), "run"),
        (("-q30m",), "run"),
        (("-qf",), "run"),
        (("-C/etc/passwd",), "config"),
        (("-C", "/etc/passwd"), "config"),
        (("-X/tmp/log",), "log"),
        (("-D", "/tmp/log"), "log"),
        (("-M", "id"), "maildrain list"),
        (("-Qreason",), "quarantined"),
        (("-k",), "no option -k"),
        (("--config=/tmp/x",), "no option --config=/tmp/x"),
        (("-F", "a\nBcc: b"), "-F"),
        (("-F", "x" * 300), "-F"),
        (("-f",), "behind -f"),
    ],
)
def test_options_that_are_refused(desk: Desk, options: Sequence[str], words: str) -> None:
    args = options if options == ("-f",) else (*options, "bob@example.net")
    assert words in desk.refuse(EX_USAGE, *args)


@pytest.mark.parametrize("word", ["-t", "-oQ/tmp", "-X/tmp/log", "-"])
def test_words_do_not_become_options(desk: Desk, word: str) -> None:
    assert "before the recipients" in desk.refuse(EX_USAGE, "bob@example.net", word)
    assert "before the recipients" in desk.refuse(EX_USAGE, "--", word)


def test_help_of_submit(desk: Desk) -> None:
    done = desk.submit("--help")
    assert done.returncode == 0 and done.stderr == b""
    assert b"-t  " in done.stdout and max(map(len, done.stdout.splitlines())) < 80


def test_mailq_and_newaliases_as_options(desk: Desk) -> None:
    desk.queue("bob@example.net")
    done = desk.submit("-bp")
    assert done.returncode == 0 and b"<bob@example.net>" in done.stdout
    for option in ("-bi", "-I"):
        done = desk.submit(option)
        assert done.returncode == 0 and b"no aliases" in done.stdout
    desk.file()


# Hostile headers


EVIL = b"X-Maildrain-To: <evil@example.net>\nX-Maildrain-From: <evil@example.com>\n"


@pytest.mark.parametrize(
    "text",
    [
        EVIL + b"Subject: x\n\ntext\n",
        b"From a\n" + EVIL + b"Subject: x\n\ntext\n",
        b"Subject: x\n" + EVIL.replace(b": ", b":\n ") + b"\ntext\n",
        b"Subject: x\n" + EVIL.lower().replace(b":", b" \t:") + b"\ntext\n",
        b"Subject: x\r" + EVIL.replace(b"\n", b"\r") + b"\r\ntext\n",
        EVIL.replace(b"\n", b"\r\n") + b"Subject: x\r\n\r\ntext\r\n",
        EVIL.replace(b":", b"") + b"Subject: x\n\ntext\n",
        EVIL,
        EVIL.replace(b"\n", b"\r"),
    ],
)
def test_no_line_of_the_input_becomes_one_of_the_envelope(
    desk: Desk, aio_server: Servers, text: bytes
) -> None:
    file = desk.queue("-f", "a@example.com", "bob@example.net", text=text)
    found, rest = split(file)
    assert found == block("a@example.com", "bob@example.net")
    header = email.message_from_bytes(rest)
    assert not [name for name in header.keys() if name.lower().startswith("x-maildrain")]
    got = desk.deliver(aio_server())
    assert (got.sender, got.recipients) == ("a@example.com", ("bob@example.net",))


def test_a_header_that_ends_in_a_bare_cr_ends(desk: Desk) -> None:
    text = b"From: a@b\nDate: x\nMessage-ID: <1>\r\xff not of the header\nBcc: x@y\n"
    rest = without_trace(split(desk.queue("root", text=text))[1])
    assert rest == b"From: a@b\nDate: x\nMessage-ID: <1>\n\n\xff not of the header\nBcc: x@y\n"


def test_a_long_header(desk: Desk, aio_server: Servers) -> None:
    """Up to 1 MiB with what is added; and not one byte more in memory for a body."""
    text = b"Subject: x\n" + b"X-Long: " + b"y" * 900 + b"\n" + b"X-A: b\n" * 140_000 + b"\ntext\n"
    desk.queue("root", text=text)
    got = desk.deliver(aio_server())
    assert got.data.count(b"X-A: b\r\n") == 140_000


def test_too_long_a_header_is_refused(desk: Desk) -> None:
    assert "1 MiB" in desk.refuse(EX_DATAERR, "root", text=b"A: " + b"x" * MIB + b"\n\ntext\n")
    assert "1 MiB" in desk.refuse(EX_DATAERR, "root", text=b"A: b\n" * (MIB // 5) + b"\ntext\n")


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_a_long_line_is_no_header(desk: Desk, size: int) -> None:
    text = b"Subject: x\n\n" + b"y" * size
    assert desk.queue("root", text=text).endswith(b">\n\n" + b"y" * size)


def test_a_long_first_line_without_header(desk: Desk) -> None:
    assert desk.queue("root", text=b"y" * 3 * MIB).endswith(b">\n\n" + b"y" * 3 * MIB)


def test_a_body_is_not_held_in_memory(desk: Desk) -> None:
    program = repo.plain_program()
    if not program.exists():
        pytest.skip(f"{program} is missing: the sanitizers' memory would be measured")
    size = 64 * MIB
    script = f'ulimit -v 40000; head -c {size} /dev/zero | "$0" -c "$1" submit root'
    subprocess.run(["bash", "-c", script, program, desk.spool.config], check=True, timeout=120)
    (name,) = desk.spool.ls()["new"]
    assert (desk.spool.path / "new" / name).stat().st_size > size


# Other programs


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing")
    return path


def call(argv: Sequence[str], directory: Path, text: bytes = b"") -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        argv, input=text, cwd=directory, env=env, timeout=60, capture_output=True
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_mailx(desk: Desk, aio_server: Servers, tmp_path: Path) -> None:
    mailx = need("s-nail")
    options = ["-:/", "-Sv15-compat", "-Ssendwait", f"-Smta={desk.sendmail}"]
    letter = ["-sHello there", "-reve@example.com", "-bhidden@example.net", "bob@example.net"]
    call([mailx, *options, *letter], tmp_path, b"A line.\n.\nThe last one.\n")
    got = desk.deliver(aio_server())
    assert got.sender == "eve@example.com"
    assert sorted(got.recipients) == ["bob@example.net", "hidden@example.net"]
    message = email.message_from_bytes(got.data, policy=email.policy.default)
    assert message["Subject"] == "Hello there" and message["To"] == "bob@example.net"
    assert message["Bcc"] is None and len(message.get_all("Date")) == 1
    assert message.get_content() == "A line.\r\n.\r\nThe last one.\r\n"


def patch(directory: Path) -> Path:
    """A commit as git makes a letter of it."""

    def git(*args: str) -> None:
        call(["git", *args], directory)

    git("init", "-q")
    git("config", "user.name", "Jo")
    git("config", "user.email", "jo@example.com")
    (directory / "file").write_text("one\n.\n")
    git("add", "file")
    git("commit", "-q", "-m", "Add a file\n\nWith a reason.")
    git("format-patch", "-q", "-o", "out", "--root", "HEAD")
    return next((directory / "out").iterdir())


@pytest.mark.parametrize(
    "way, sender",
    [
        (["--envelope-sender=auto", "--smtp-server={}"], "jo@example.com"),
        (["--sendmail-cmd={} -i"], ME),
    ],
)
def test_git_send_email(
    desk: Desk, aio_server: Servers, tmp_path: Path, way: List[str], sender: str
) -> None:
    if not Path("/usr/lib/git-core/git-send-email").exists():
        pytest.skip("git-email is missing")
    letter = patch(tmp_path)
    people = ["--from=Jo <jo@example.com>", "--to=list@example.net", "--cc=eve@example.net"]
    how = ["--quiet", "--confirm=never", "--suppress-cc=all"]
    how += [option.format(desk.sendmail) for option in way]
    call(["git", "send-email", *people, *how, str(letter)], tmp_path)
    got = desk.deliver(aio_server())
    assert got.sender == sender
    assert sorted(got.recipients) == ["eve@example.net", "list@example.net"]
    message = email.message_from_bytes(got.data)
    assert message["Subject"] == "[PATCH] Add a file" and message["From"] == "Jo <jo@example.com>"
    body = letter.read_bytes().partition(b"\n\n")[2]
    assert got.data.partition(b"\r\n\r\n")[2] == body.replace(b"\n", b"\r\n")


def test_mail_of_php(desk: Desk, aio_server: Servers, tmp_path: Path) -> None:
    php = need("php")
    script = (
        "exit(mail('Bob <bob@example.net>', 'Hello', \"A line.\\n.\\nThe last.\\n\", "
        "\"From: Shop <shop@example.com>\\r\\nBcc: boss@example.com\", "
        "'-fbounces@example.com') ? 0 : 1);"
    )
    call([php, "-n", "-d", f"sendmail_path={desk.sendmail} -t -i", "-r", script], tmp_path)
    got = desk.deliver(aio_server())
    assert got.sender == "bounces@example.com"
    assert got.recipients == ("bob@example.net", "boss@example.com")
    message = email.message_from_bytes(got.data)
    assert message["From"] == "Shop <shop@example.com>" and message["Bcc"] is None
    assert message["To"] == "Bob <bob@example.net>" and message["Subject"] == "Hello"
    assert got.data.partition(b"\r\n\r\n")[2] == b"A line.\r\n.\r\nThe last.\r\n\r\n"


def test_php_is_told_of_a_failure(desk: Desk, tmp_path: Path) -> None:
    php = need("php")
    options = ["-n", "-d", f"sendmail_path={desk.sendmail} -t -i"]
    script = "exit(mail('no one', 'x', 'y') ? 0 : 3);"
    done = subprocess.run([php, *options, "-r", script], capture_output=True, timeout=60)
    assert done.returncode == 3 and b"nothing is queued" in done.stderr
    # The way forms have been abused: options of the visitor's choice.
    script = "exit(mail('a@example.net', 'x', 'y', '', '-OQueueDirectory=/tmp -X/tmp/x') ? 0 : 3);"
    done = subprocess.run([php, *options, "-r", script], capture_output=True, timeout=60)
    assert done.returncode == 3
    assert set(desk.spool.counts().values()) == {0}


def test_python(desk: Desk, aio_server: Servers) -> None:
    letter = EmailMessage()
    letter["Subject"] = "Grüße"
    letter["From"] = "shop@example.com"
    letter["To"] = "Jörg <joerg@example.net>"
    letter.set_content("Schöne Grüße\n.\n")
    argv = [str(desk.sendmail), "-t", "-i"]
    subprocess.run(argv, input=letter.as_bytes(), check=True, timeout=60)
    got = desk.deliver(aio_server())
    assert got.recipients == ("joerg@example.net",)
    message = email.message_from_bytes(got.data, policy=email.policy.default)
    assert message["Subject"] == "Grüße" and message["To"] == "Jörg <joerg@example.net>"
    assert message.get_content() == "Schöne Grüße\r\n.\r\n"


def test_the_way_of_mutt(desk: Desk, aio_server: Servers) -> None:
    args = ("-oem", "-oi", "-f", "jo@example.com", "--", "bob@example.net", "eve@example.net")
    text = b"Date: x\nFrom: Jo <jo@example.com>\nTo: bob@example.net\nMessage-ID: <1@x>\n\n.\n"
    desk.queue(*args, text=text)
    got = desk.deliver(aio_server())
    assert got.sender == "jo@example.com"
    assert got.recipients == ("bob@example.net", "eve@example.net")
    assert without_trace(got.data) == text.replace(b"\n", b"\r\n")


# By other names


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with a config of its own, in the folder's etc: as sendmail it takes no other."""
    place = Path(tempfile.mkdtemp(prefix="maildrain-sendmail-"))
    place.chmod(0o755)
    target = place / "build/sbin/maildrain"
    where = [f"BUILD={place}/build", f"SYSCONFDIR={place}/etc"]
    command = ["make", "-s", *where, "CFLAGS=-O0", "HARDEN=", str(target)]
    (place / "etc").mkdir()
    log = tmp_path_factory.mktemp("make") / "log"
    with open(log, "wb") as output:
        done = subprocess.run(command, cwd=repo.ROOT, stdout=output, stderr=output, timeout=300)
    assert done.returncode == 0, log.read_text()
    for name in ("sendmail", "mailq", "newaliases", "sendmails"):
        (place / name).symlink_to(target)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def as_sendmail(built: Path, desk: Desk) -> Path:
    shutil.copy(desk.spool.config, built / "etc/maildrain.conf")
    return built


def by_name(path: Path, *args: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [str(path), *args], input=b"Subject: x\n\ntext\n", capture_output=True, timeout=60
    )


def test_as_sendmail(desk: Desk, as_sendmail: Path) -> None:
    done = by_name(as_sendmail / "sendmail", "-oi", "bob@example.net")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert split(desk.file())[0] == block(ME, "bob@example.net")
    done = by_name(as_sendmail / "mailq", "-Ac", "-v")
    assert done.returncode == 0 and b"<bob@example.net>" in done.stdout
    done = by_name(as_sendmail / "newaliases", "-v")
    assert done.returncode == 0 and b"no aliases" in done.stdout and done.stderr == b""
    desk.file()


@pytest.mark.parametrize("option", ["-c", "-C", "--config"])
def test_sendmail_takes_no_config(desk: Desk, as_sendmail: Path, option: str) -> None:
    path = str(desk.spool.config)
    (as_sendmail / "etc/maildrain.conf").unlink()
    assert by_name(as_sendmail / "sendmail", option, path, "bob@example.net").returncode == EX_USAGE
    done = by_name(as_sendmail / "sendmail", "bob@example.net")
    assert done.returncode == EX_CONFIG and b"etc/maildrain.conf" in done.stderr
    assert set(desk.spool.counts().values()) == {0}


def test_sendmail_knows_no_commands(desk: Desk, as_sendmail: Path) -> None:
    assert by_name(as_sendmail / "sendmail", "status").stdout == b""
    assert recipients_of(desk.file()) == [f"status@{DOMAIN}"]
    assert by_name(as_sendmail / "sendmails", "status").stdout.startswith(b"spool ")


# Cron itself

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

# A cron with one table of ours and /usr/sbin/sendmail of ours; it ends with its namespace. @reboot
# makes it start the job at once.
CRON = """
for place in /etc/cron.d /var/spool/cron /run; do mount -t tmpfs tmpfs "$place"; done
mkdir -p /var/spool/cron/crontabs
: > /run/empty; mount --bind /run/empty /etc/crontab
mount --bind "$1" /usr/sbin/sendmail
printf '%s\\n' "@reboot root echo 'Grüße'; echo .; echo end" > /etc/cron.d/job
exec cron -f
"""


@as_root
def test_cron(desk: Desk, as_sendmail: Path, aio_server: Servers) -> None:
    if not shutil.which("cron") or not Path("/usr/sbin/sendmail").exists():
        pytest.skip("cron is missing, or there is no sendmail in whose place ours could stand")
    # The file itself is bound there, so the name it is called by is that of the place.
    program = as_sendmail / "build/sbin/maildrain"
    with open(desk.spool.config.parent / "log", "wb") as log:
        child = subprocess.Popen(private(CRON, program, pids=True), stdout=log, stderr=log)
    try:
        until = time.monotonic() + 30
        while desk.spool.counts()["new"] == 0 and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    got = desk.deliver(aio_server())
    assert (got.sender, got.recipients) == (f"root@{DOMAIN}", (f"root@{DOMAIN}",))
    message = email.message_from_bytes(got.data)
    assert message["From"] == f"root@{DOMAIN} (Cron Daemon)" and message["To"] == f"root@{DOMAIN}"
    assert not any("SMTPUTF8" in option for option in got.options)
    subject = str(email.header.make_header(email.header.decode_header(message["Subject"])))
    assert subject.startswith("Cron <root@") and subject.endswith("echo 'Grüße'; echo .; echo end")
    assert got.data.partition(b"\r\n\r\n")[2] == "Grüße\r\n.\r\nend\r\n".encode()


@as_root
@pytest.mark.parametrize(
    "line, domain", [("mail.example.org\nx\n", "mail.example.org"), ("no name!\n", None)]
)
def test_mailname(desk: Desk, tmp_path: Path, line: str, domain: str) -> None:
    desk.spool.write_config({}, url="smtp://127.0.0.1:1", tls="none")
    script = (
        'mount -t tmpfs tmpfs "$1"; mkdir "$1/upper" "$1/work"; '
        'mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay /etc; '
        'printf %s "$2" > /etc/mailname; exec "$3" root'
    )
    argv = private(script, tmp_path, line, desk.sendmail)
    subprocess.run(argv, input=b"x\n", check=True)
    assert recipients_of(desk.file()) == [f"root@{domain or socket.gethostname()}"]


# Who may

GROUP, OWNER, MEMBER, STRANGER = 61330, 61331, 61332, 61333


@pytest.fixture
def shared(make_spool: Callable[..., Spool]) -> Iterator[Desk]:
    """A spool that belongs to a user OWNER and a GROUP, where every user can get to."""
    home = Path(tempfile.mkdtemp(prefix="maildrain-submit-"))
    home.chmod(0o755)
    spool = Spool(home)
    for place, mode in (("", 0o3770), ("tmp", 0o3770), ("new", 0o3770), ("cur", 0o2750),
                        ("failed", 0o2750), ("state", 0o2750)):
        os.chown(spool.path / place, OWNER, GROUP)
        (spool.path / place).chmod(mode)
    yield Desk(spool)
    shutil.rmtree(home)


def as_user(uid: int, *groups: int) -> List[str]:
    extra = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", extra]


def submit_as(desk: Desk, *become: str, mask: str = "022") -> "subprocess.CompletedProcess[bytes]":
    script = 'umask "$1"; shift; exec "$@"'
    argv = ["sh", "-c", script, "sh", mask, *become, str(desk.sendmail), "bob@example.net"]
    return subprocess.run(argv, input=b"Subject: x\n\ntext\n", capture_output=True, timeout=60)


@as_root
@pytest.mark.parametrize("mask", ["022", "077", "0"])
@pytest.mark.parametrize("uid", [0, MEMBER])
def test_a_member_of_the_group_may(
    shared: Desk, aio_server: Servers, uid: int, mask: str
) -> None:
    become = as_user(uid, GROUP) if uid else []
    done = submit_as(shared, *become, mask=mask)
    assert done.returncode == 0, done.stderr
    (name,) = shared.spool.ls()["new"]
    found = (shared.spool.path / "new" / name).stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, GROUP, 0o640)
    login = "root" if uid == 0 else f"uid{MEMBER}"
    server = aio_server()
    shared.aim(server.url)
    owner = ["setpriv", f"--reuid={OWNER}", f"--regid={GROUP}", "--clear-groups"]
    subprocess.run([*owner, *shared.spool.argv("run")], check=True, capture_output=True)
    assert server.messages[0].sender == f"{login}@{DOMAIN}"


@as_root
def test_a_stranger_may_not(shared: Desk) -> None:
    done = submit_as(shared, *as_user(STRANGER))
    assert done.returncode == EX_NOPERM
    assert f"usermod -aG maildrain uid{STRANGER}" in done.stderr.decode().replace(
        str(GROUP), "maildrain"
    )
    assert set(shared.spool.counts().values()) == {0}


# Faults

needs_strace = pytest.mark.skipif(not have_strace(), reason="needs strace, and leave to trace")


def traced(desk: Desk, *options: str) -> Any:
    """Hands in LETTER under strace."""
    letter = desk.spool.config.parent / "letter"
    letter.write_bytes(LETTER)
    program = [str(repo.plain_program()), "-c", str(desk.spool.config), "submit", "-t"]
    return trace(["sh", "-c", 'exec "$@" < "$0"', str(letter), *program], options=options)


LETTER = b"From: a@b\nTo: bob@example.net\nDate: x\nMessage-ID: <1@x>\n\n" + b"text\n" * 30_000


def whole(desk: Desk) -> int:
    """How many messages are in new/; each is whole."""
    names = desk.spool.ls()["new"]
    for name in names:
        file = (desk.spool.path / "new" / name).read_bytes()
        assert without_trace(split(file)[1]) == LETTER, name
    return len(names)


def clear(desk: Desk) -> None:
    for place in ("tmp", "new"):
        for path in (desk.spool.path / place).iterdir():
            path.unlink()


def all_places(desk: Desk) -> List[Place]:
    """The system calls of the program itself, without those of the shell that starts it."""
    text = traced(desk).text
    clear(desk)
    return places(text)


@needs_strace
def test_killed_at_each_system_call(desk: Desk) -> None:
    counts = {0: 0, 1: 0}
    for place in all_places(desk):
        done = traced(desk, *place.kill())
        found = whole(desk)
        assert found == 1 if done.returncode == 0 else found in counts, place
        counts[found] += 1
        clear(desk)
    assert min(counts.values()) > 0, counts


FAILING = {"openat", "read", "write", "lseek", "ftruncate", "fsync", "close", "renameat2", "poll",
           "signalfd4", "rt_sigprocmask", "unlinkat", "mmap", "brk"}


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_from_each_system_call(desk: Desk, error: str) -> None:
    statuses = set()
    for place in all_places(desk):
        if place.name not in FAILING:
            continue
        done = traced(desk, *place.fail(error))
        statuses.add(done.returncode)
        assert whole(desk) == (1 if done.returncode == 0 else 0), (place, done.stderr)
        clear(desk)
    assert EX_TEMPFAIL in statuses and 0 in statuses


@as_root
def test_a_full_disk(desk: Desk, tmp_path: Path) -> None:
    script = (
        'mount -t tmpfs -o size=200k tmpfs "$1"; "$2" init "$1"/spool; '
        'printf "spool = \\"%s/spool\\"\\n" "$1" > "$1/conf"; '
        'head -c 400000 /dev/zero | "$2" -c "$1/conf" submit bob@example.net; echo "status $?"; '
        'find "$1/spool" -type f; '
        'echo hello | "$2" -c "$1/conf" submit bob@example.net; echo "status $?"; '
        'find "$1/spool" -type f -printf "%h\\n"'
    )
    argv = private(script, tmp_path, repo.program(), options="-c")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[1:] == [f"status {EX_TEMPFAIL}", "status 0", f"{tmp_path}/spool/new"], done.stderr
    assert "No space left" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "text",
    [b"", b"Subject: x\n", b"Subject: x\n\n" + b"text\n" * 50_000],
    ids=["nothing", "header", "body"],
)
def test_a_signal_leaves_nothing(desk: Desk, ending: signal.Signals, text: bytes) -> None:
    argv = desk.spool.argv("submit", "bob@example.net")

    def default() -> None:
        signal.signal(ending, signal.SIG_DFL)  # a shell's background jobs ignore SIGINT

    with started(argv, preexec_fn=default) as child:
        assert child.stdin is not None
        child.stdin.write(text)
        child.stdin.flush()
        _wait_for(lambda: len(text) < 100 or desk.spool.counts()["tmp"] == 1)
        time.sleep(0.3)
        child.send_signal(ending)
        assert child.wait(30) == -ending
    assert set(desk.spool.counts().values()) == {0}


def test_a_signal_that_is_ignored_stays_so(desk: Desk) -> None:
    argv = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *desk.spool.argv("submit", "root")]
    with started(argv) as child:
        assert child.stdin is not None
        child.stdin.write(b"Subject: x\n\n")
        child.stdin.flush()
        time.sleep(0.5)
        child.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        child.stdin.write(b"text\n")
        child.stdin.close()
        assert child.wait(30) == 0
    assert desk.file().endswith(b"\n\ntext\n")


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_input_that_can_not_be_read(desk: Desk, tmp_path: Path) -> None:
    for script in ('exec "$0" root < "$1"', 'exec "$0" root <&-'):
        done = subprocess.run(
            ["sh", "-c", script, str(desk.sendmail), str(tmp_path)], capture_output=True, timeout=60
        )
        assert done.returncode == EX_TEMPFAIL and b"standard input" in done.stderr
        assert set(desk.spool.counts().values()) == {0}


def test_input_that_comes_byte_by_byte(desk: Desk) -> None:
    text = b"Subject: x\r\nTo: a@b\r\n\r\n..\r\n.\r\n"
    with started([str(desk.sendmail), "root"]) as child:
        assert child.stdin is not None
        for n in range(len(text)):
            child.stdin.write(text[n : n + 1])
            child.stdin.flush()
            time.sleep(0.002)
        assert child.wait(30) == 0
    rest = split(desk.file())[1]
    assert b"Subject: x\r\nTo: a@b\r\n" in rest and rest.endswith(b"\n\n..\r\n")


@pytest.mark.parametrize("typed", [b"Subject: x\n\4", b"Subject: x\n\ntext\n\4", b"\n.\n"])
def test_a_terminal(desk: Desk, typed: bytes) -> None:
    """Where the end of the input is given once, and more could follow."""
    ours, theirs = pty.openpty()
    with started([str(desk.sendmail), "root"], stdin=theirs) as child:
        os.write(ours, typed)
        assert child.wait(30) == 0
    os.close(ours)
    os.close(theirs)
    assert desk.file().endswith(b"\n\n" + (b"text\n" if b"text" in typed else b""))


def test_no_spool(desk: Desk) -> None:
    shutil.rmtree(desk.spool.path)
    done = desk.submit("root")
    assert done.returncode == EX_CONFIG and b"maildrain init" in done.stderr


# Installed


def make(target: str, root: Path) -> "subprocess.CompletedProcess[str]":
    argv = ["make", "-s", target, f"DESTDIR={root}", "PREFIX=/usr"]
    return subprocess.run(argv, cwd=repo.ROOT, capture_output=True, text=True, timeout=60)


def test_install_as_sendmail(tmp_path: Path) -> None:
    links = {
        "usr/sbin/sendmail": "maildrain",
        "usr/bin/mailq": "../sbin/maildrain",
        "usr/bin/newaliases": "../sbin/maildrain",
    }
    for _ in range(2):
        done = make("install-sendmail", tmp_path)
        assert done.returncode == 0, done.stderr
        assert {name: os.readlink(tmp_path / name) for name in links} == links
    assert make("uninstall", tmp_path).returncode == 0
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


def test_another_mailer_stays(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/sbin/sendmail").write_text("another")
    (tmp_path / "usr/bin/mailq").symlink_to("../sbin/exim4")
    done = make("install-sendmail", tmp_path)
    assert done.returncode != 0 and "sendmail" in done.stderr
    assert make("uninstall", tmp_path).returncode == 0
    assert (tmp_path / "usr/sbin/sendmail").read_text() == "another"
    assert os.readlink(tmp_path / "usr/bin/mailq") == "../sbin/exim4"
