"""What Django's stock file-based backend writes, imported: every message once, byte for byte, or
kept for a person."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable, List

import pytest

from lab import repo
from lab.aiosmtp import AioServer
from lab.django_site import STOCK, DjangoSite
from lab.measure import measure
from lab.spool import Spool, fields_of

RULE = b"-" * 79
HOUR = 3600
DEAD_PID = 4_194_303  # the highest that Linux can have
STALE = 37 * HOUR
NAME = "20261122-070856-4711.log"

# Each message that the backend asks for is also written to a file of its own, as it then was. What
# is LONG does not fit into the buffer of a file, which has grown from Python to Python: it is
# written at once, and its rule when the file is closed.
RECORD = """
import io, itertools, os, pathlib, threading
LONG = io.DEFAULT_BUFFER_SIZE + 1000
_made, _number = EmailMessage.message, itertools.count()
def _message(self, *args, **kwargs):
    made = _made(self, *args, **kwargs)
    name = f"{{os.getpid()}}-{{threading.get_ident()}}-{{next(_number)}}"
    pathlib.Path({folder!r}, name).write_bytes(made.as_bytes())
    return made
EmailMessage.message = _message

def mail(body="text", **options):
    return EmailMessage("s", body, "a@example.com", ["b@example.net"], **options)

def shared():
    connection = get_connection()
    connection._fname = os.path.join(connection.file_path, {name!r})
    return connection
"""


class Stock:
    """A site on the stock backend, its spool, and what it has sent."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self.spool = spool
        self.folder = folder
        self.site = DjangoSite(spool.path, STOCK)
        self.prelude = RECORD.format(folder=str(folder), name=NAME)

    def send(self, snippet: str) -> None:
        self.site.run(self.prelude + snippet)

    def start(self, snippet: str) -> "subprocess.Popen[str]":
        return self.site.start(self.prelude + snippet)

    def sent(self) -> List[bytes]:
        return contents(self.folder)

    def dumps(self) -> List[str]:
        return self.spool.ls()["."]

    def age(self, seconds: float = 10) -> None:
        """Makes the dumps look as if nobody had written for SECONDS."""
        for name in self.dumps():
            then = time.time() - seconds
            os.utime(self.spool.path / name, (then, then), follow_symlinks=False)

    def run(self, *, age: float = 10) -> str:
        """Runs with settled dumps and no relay to be had: what is imported waits in new/."""
        self.age(age)
        done = self.spool.run()
        assert done.returncode in (0, 75), done.stderr
        return done.stderr

    def waiting(self) -> List[bytes]:
        return contents(self.spool.path / "new")

    def failed(self) -> List[bytes]:
        return contents(self.spool.path / "failed")


def contents(folder: Path) -> List[bytes]:
    return sorted(path.read_bytes() for path in folder.iterdir())


def dump(stock: Stock, data: bytes, name: str = NAME) -> Path:
    path = stock.spool.path / name
    path.write_bytes(data)
    return path


def header(encoding: str = "7bit", subject: str = "s") -> bytes:
    return (
        'Content-Type: text/plain; charset="utf-8"\nMIME-Version: 1.0\n'
        f"Content-Transfer-Encoding: {encoding}\nSubject: {subject}\nFrom: a@example.com\n"
        "To: b@example.net\n\n"
    ).encode()


def record(message: bytes) -> bytes:
    return message + b"\n" + RULE + b"\n"


@pytest.fixture
def stock(spool: Spool, tmp_path: Path) -> Stock:
    folder = tmp_path / "sent"
    folder.mkdir()
    return Stock(spool, folder)


def test_mails_of_each_kind_on_one_connection(stock: Stock) -> None:
    stock.send(
        """
both = EmailMultiAlternatives("alt", "text", "a@example.com", ["b@example.net"])
both.attach_alternative("<p>text</p>", "text/html")
both.attach("a.bin", bytes(range(256)))
only = EmailMultiAlternatives("html only", "", "a@example.com", ["b@example.net"])
only.attach_alternative("<p>text</p>", "text/html")
inner = mail("an attached mail\\n" + "-" * 79 + "\\n")
get_connection().send_messages([
    mail(), mail(""), mail("\\n\\n"), mail("Grüße"), mail("Grüße " * 500), mail("x" * 3000),
    both, mail("", attachments=[("a.bin", b"a", "image/png")]), mail("plain"), only, mail("plain"),
    mail(attachments=[("m.eml", inner, "message/rfc822")]), mail(cc=["c@example.net"]),
    EmailMessage("é" * 200, "text", '"Ä, B" <a@example.com>', bcc=["d@example.net"]),
    EmailMessage("s", "many", "a@example.com", [f"user{i}@example.net" for i in range(2000)]),
])
"""
    )
    assert len(stock.dumps()) == 1
    stock.run()
    assert len(stock.waiting()) == 15
    assert set(stock.waiting()) <= set(stock.sent())
    assert stock.failed() == []


def test_they_are_delivered_to_those_in_the_header(
    stock: Stock, aio_server: Callable[..., AioServer]
) -> None:
    server = aio_server()
    stock.spool.write_config(url=server.url, tls="none")
    stock.send("mail('one\\n' + '-' * 79, cc=['c@example.net']).send()")
    [sent] = stock.sent()
    stock.age()
    done = stock.spool.run()
    assert done.returncode == 0, done.stderr
    [received] = server.messages
    assert received.sender == "a@example.com"
    assert set(received.recipients) == {"b@example.net", "c@example.net"}
    assert received.data == sent.removesuffix(b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    assert stock.spool.counts() == {"tmp": 0, "new": 0, "cur": 1, "failed": 0}


def test_a_run_reads_on_where_the_last_one_stopped(stock: Stock) -> None:
    django = stock.start(
        """
connection = get_connection()
connection.open()
for i in range(4):
    connection.send_messages([mail(f"body {i}")])
    print(i, flush=True)
    input()
connection.close()
"""
    )
    assert django.stdin and django.stdout
    try:
        for count in range(1, 5):
            django.stdout.readline()
            stock.run()
            assert len(stock.waiting()) == count
            [name] = stock.dumps()
            assert int(fields_of(name)["O"]) == (stock.spool.path / name).stat().st_size
            django.stdin.write("\n")
            django.stdin.flush()
    finally:
        django.stdin.close()
        django.wait(30)
        django.stdout.close()
    stock.run()
    assert stock.waiting() == stock.sent()


def test_a_reopened_connection_makes_its_file_anew(stock: Stock) -> None:
    django = stock.start(
        """
connection = get_connection()
for i in range(3):
    connection.send_messages([mail(f"body {i}")])
    print(i, flush=True)
    input()
"""
    )
    assert django.stdin and django.stdout
    try:
        for _ in range(3):
            django.stdout.readline()
            stock.run()
            django.stdin.write("\n")
            django.stdin.flush()
    finally:
        django.stdin.close()
        django.wait(30)
        django.stdout.close()
    assert stock.waiting() == stock.sent()
    assert len(stock.dumps()) == 3


def test_the_last_text_waits_until_the_file_has_settled(stock: Stock) -> None:
    stock.send("get_connection().send_messages([mail('one'), mail('two')])")
    stock.run(age=-60)
    assert len(stock.waiting()) == 1
    stock.run()
    assert stock.waiting() == stock.sent()


def test_bodies_with_rules(stock: Stock) -> None:
    stock.send(
        """
rule = "-" * 79
header = f"{rule}\\nContent-Type: x\\nSubject: x\\nFrom: x\\n\\n"
get_connection().send_messages([
    mail(f"above\\n{rule}\\nbelow"), mail(f"at the end\\n{rule}"), mail(f"{rule}\\n{rule}\\n"),
    mail(rule), mail(f"{rule}\\nNote: no header\\n\\n{rule}\\nSubject: nor this\\n\\ntext"),
    mail(f"Grüße\\n{rule}\\n", attachments=[("a.txt", header, "text/plain")]),
])
"""
    )
    stock.run()
    assert stock.waiting() == stock.sent()
    assert stock.failed() == []


def test_an_attachment_of_25_mb(stock: Stock) -> None:
    stock.send("mail(attachments=[('big', os.urandom(25_000_000), 'image/png')]).send()")
    stock.run(age=-60)
    assert stock.waiting() == stock.sent()
    assert len(stock.waiting()[0]) > 25_000_000


def test_threads_and_forks_of_one_name(stock: Stock) -> None:
    stock.send(
        """
def worker(number):
    shared().send_messages([mail(f"short {number}.{i}") for i in range(20)])
threads = [threading.Thread(target=worker, args=(i,)) for i in range(4)]
children = []
for number in range(4):
    if (child := os.fork()) == 0:
        worker(number)
        os._exit(0)
    children.append(child)
for thread in threads: thread.start()
for thread in threads: thread.join()
for child in children: assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert stock.dumps() == [NAME]
    stock.run()
    assert len(stock.sent()) == 160
    assert stock.waiting() == stock.sent()


def test_long_messages_of_forks_never_mix(stock: Stock) -> None:
    """Each message has a token of its own: no imported file may hold two of them. The pause behind
    a long write lets the others in before its rule."""
    stock.send(
        """
import random, time
class Slow:
    def __init__(self, stream): self.stream = stream
    def __getattr__(self, name): return getattr(self.stream, name)
    def write(self, data):
        self.stream.write(data)
        if len(data) > LONG and random.random() < 0.3:
            time.sleep(0.002)
def worker(number):
    random.seed(number)
    for i in range(40):
        text = f"TOKEN-{number}-{i}-\\n" + "x\\n" * (10 if i % 3 else LONG)
        connection = shared()
        connection.open()
        connection.stream = Slow(connection.stream)
        attachments = [("a.txt", "a", "text/plain")] if i % 2 else []
        connection.send_messages([mail(text, attachments=attachments)])
        connection.close()
children = []
for number in range(4):
    if (child := os.fork()) == 0:
        worker(number)
        os._exit(0)
    children.append(child)
for child in children: assert os.waitpid(child, 0)[1] == 0
"""
    )
    stock.run()
    stock.run(age=STALE)
    token = re.compile(rb"TOKEN-\d+-\d+-")
    sent = {token.findall(message)[0]: message for message in stock.sent()}
    assert len(sent) == 160
    for message in stock.waiting():
        [mine] = token.findall(message)
        assert message.startswith(sent[mine])
        assert message[len(sent[mine]) :].replace(b"\n" + RULE, b"") == b""
    imported = {token.findall(message)[0] for message in stock.waiting()}
    kept = {found for data in stock.failed() for found in token.findall(data)}
    assert imported | kept == set(sent)
    assert imported and kept and not imported & kept


@pytest.mark.parametrize("first", ["'x\\n' * LONG", "'ü\\n' * LONG", "'x' * LONG"])
@pytest.mark.parametrize("attached", [False, True])
def test_a_message_between_another_and_its_rule(stock: Stock, first: str, attached: bool) -> None:
    options = "attachments=[('a.txt', 'a', 'text/plain')]" if attached else ""
    stock.send(
        f"""
one, two = shared(), shared()
one.open()
made = mail("TOKEN-A " + {first}, {options}).message().as_bytes()
one.stream.write(made + b"\\n")
two.send_messages([mail("TOKEN-B", {options})])
one.stream.write(b"-" * 79 + b"\\n")
one.close()
shared().send_messages([mail("TOKEN-C")])
"""
    )
    said = stock.run()
    stock.run()
    [only] = stock.waiting()
    assert b"TOKEN-C" in only and only in stock.sent()
    [kept] = stock.failed()
    assert b"TOKEN-A" in kept and b"TOKEN-B" in kept
    [name] = os.listdir(stock.spool.path / "failed")
    assert fields_of(name)["E"] == "5.6.0"
    assert NAME in said and name.split(",")[0] in said


def test_an_unfinished_record_waits_and_is_then_imported(stock: Stock) -> None:
    message = header() + b"body"
    whole = record(message)
    path = dump(stock, b"")
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        stock.run()
        assert stock.waiting() == [] and stock.dumps() == [NAME]
    path.write_bytes(whole)
    stock.run()
    assert stock.waiting() == [message]


def test_an_imported_dump_is_removed_when_it_is_stale(stock: Stock) -> None:
    dump(stock, record(header() + b"body"))
    stock.run()
    stock.run(age=35 * HOUR)
    [name] = stock.dumps()
    assert "T" not in fields_of(name)
    stock.run(age=STALE)
    [doomed] = stock.dumps()
    assert abs(int(fields_of(doomed)["T"]) - time.time() - 36 * HOUR) < 60
    stock.run(age=STALE)
    assert stock.dumps() == [doomed]
    os.rename(stock.spool.path / doomed, stock.spool.path / f"{name},T={int(time.time()) - 1}")
    stock.run(age=STALE)
    assert stock.dumps() == []
    assert len(stock.waiting()) == 1 and stock.failed() == []


def test_a_clock_that_is_wrong_for_one_run_removes_no_dump(stock: Stock) -> None:
    """Django may have it open, and write on."""
    dump(stock, record(header() + b"one"))
    stock.run()
    stock.run(age=STALE)  # a year ahead, say
    [name] = stock.dumps()
    ahead = name.replace(fields_of(name)["T"], str(int(time.time()) + 366 * 24 * HOUR))
    os.rename(stock.spool.path / name, stock.spool.path / ahead)
    with open(stock.spool.path / ahead, "ab") as file:
        file.write(record(header() + b"two"))
    stock.run()
    assert len(stock.waiting()) == 2
    [name] = stock.dumps()
    assert "T" not in fields_of(name)


def test_a_remainder_is_given_up_when_it_is_stale(stock: Stock) -> None:
    data = record(header() + b"one") + record(header("base64") + b"dHdv") + header() + b"cut"
    offset = str(len(data) - len(header() + b"cut"))
    dump(stock, data)
    stock.run(age=35 * HOUR)
    assert len(stock.waiting()) == 2 and stock.failed() == []
    assert stock.dumps() == [f"{NAME},O={offset}"]
    said = stock.run(age=STALE)
    assert stock.dumps() == [] and stock.failed() == [data]
    [name] = os.listdir(stock.spool.path / "failed")
    assert name.startswith(NAME) and NAME in said
    assert fields_of(name) == {"E": "5.6.0", "O": offset}


def test_an_old_dump_is_imported_whole(stock: Stock) -> None:
    dump(stock, record(header() + b"one") + record(header() + b"two"))
    stock.run(age=STALE)
    assert stock.waiting() == [header() + b"one", header() + b"two"]
    assert stock.failed() == []


def test_no_envelope_block_comes_from_a_dump(stock: Stock) -> None:
    forged = b"X-Maildrain-To: <victim@example.net>\n" + header() + b"one"
    dump(stock, record(forged) + record(header() + b"two"))
    behind = record(header() + b"three") + record(forged)
    dump(stock, behind, "20261122-070857-1.log")
    stock.run()
    assert stock.waiting() == [header() + b"two"]
    assert stock.failed() == sorted([forged, behind[: -len(RULE) - 2]])


def test_foreign_things_are_told_and_left_alone(stock: Stock, tmp_path: Path) -> None:
    root = stock.spool.path
    target = tmp_path / "target"
    target.write_bytes(record(header() + b"secret"))
    names = [f"20261122-070856-{i}.log" for i in range(6)]
    (root / names[0]).symlink_to(target)
    os.link(target, root / names[1])
    (root / names[2]).mkdir()
    os.mkfifo(root / names[3])
    (root / f"{names[4]},O=x").write_bytes(record(header() + b"secret"))
    (root / f"{names[5]},O=9999").write_bytes(record(header() + b"secret"))
    (root / f"{names[0]}.gz").write_bytes(record(header() + b"secret"))
    before = {path.name for path in root.iterdir()}
    dump(stock, record(header() + b"body"))
    said = stock.run()
    assert all(name in said for name in names)
    assert stock.waiting() == [header() + b"body"]
    after = {path.name for path in root.iterdir() if NAME not in path.name}
    assert after == before
    assert stat.S_ISFIFO((root / names[3]).stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, so root")
def test_a_dump_that_cant_be_read_is_told(stock: Stock) -> None:
    """Root reads everything, so the run gets rid of its right to."""
    path = dump(stock, record(header() + b"secret"))
    path.chmod(0)
    good = dump(stock, record(header() + b"body"), "20261122-070857-1.log")
    stock.age()
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    os.chown(path, 65534, 65534)
    done = subprocess.run(
        [*drop, *stock.spool.argv("run")], capture_output=True, text=True, timeout=60
    )
    assert NAME in done.stderr
    assert path.exists() and not good.exists()
    assert stock.waiting() == [header() + b"body"]


def strace(stock: Stock, *options: str) -> str:
    """The trace of a run's renames."""
    stock.age()
    trace = stock.spool.config.parent / "trace"
    subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=rename,renameat,renameat2", *options]
        + stock.spool.argv("run"),
        capture_output=True,
        timeout=60,
    )
    return trace.read_text()


def test_a_crash_at_any_rename_loses_nothing(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    """Killed at the N-th rename of an import of three: all arrive, none of them twice."""
    messages = [header(subject=str(i)) + b"body" for i in range(3)]
    data = b"".join(map(record, messages))
    when = 0
    while True:
        when += 1
        stock = Stock(make_spool(), tmp_path)
        dump(stock, data)
        trace = strace(stock, "-e", f"inject=rename,renameat,renameat2:signal=KILL:when={when}")
        if "killed by SIGKILL" not in trace:
            break
        stock.run()
        assert sorted(stock.waiting()) == sorted(messages)
    assert when >= 7


@pytest.mark.parametrize("folder", ["new", "cur", "failed"])
@pytest.mark.parametrize("claimed", [True, False])
def test_a_record_that_a_dead_run_has_imported_is_not_imported_again(
    stock: Stock, folder: str, claimed: bool
) -> None:
    """Another host may have sent it meanwhile; what tells is its UNIQUE, and the dead claim."""
    dump(stock, record(header() + b"body"))
    plain = stock.spool.path / NAME
    born = int(time.mktime(time.strptime(NAME[:15], "%Y%m%d-%H%M%S")))
    unique = f"{born}.M000000P{plain.stat().st_ino}Q{0:012}.dump"
    imported = stock.spool.path / folder / f"{unique},A=1"
    imported.write_bytes(b"as it was")
    if claimed:
        host = re.sub(r"[/:,=\x00-\x20]", "_", socket.gethostname())
        plain.rename(stock.spool.path / f"{NAME},C={host}-{DEAD_PID},T={int(time.time()) + HOUR}")
    stock.run()
    assert len(stock.spool.ls()["new"]) == (folder == "new") + (not claimed)
    assert [name.split(",O=")[0] for name in stock.dumps()] == [NAME]


def test_where_the_offset_cant_be_recorded_nothing_is_imported(stock: Stock) -> None:
    """Otherwise each run would send the first message of the dump again."""
    dump(stock, record(header() + b"body"))
    for _ in range(2):
        strace(stock, "-e", "inject=rename,renameat,renameat2:error=EPERM:when=1")
        assert stock.waiting() == [] and stock.dumps() == [NAME]
    stock.run()
    assert stock.waiting() == [header() + b"body"]


def test_a_dump_that_cant_be_renamed_holds_up_no_other(stock: Stock) -> None:
    for i in range(2):
        dump(stock, record(header() + b"body"), f"20261122-070856-{i}.log")
    strace(stock, "-e", "inject=rename,renameat,renameat2:error=EPERM:when=1")
    assert stock.waiting() == [header() + b"body"]
    assert sorted("O" in fields_of(name) for name in stock.dumps()) == [False, True]


def test_an_import_is_bounded_in_memory(stock: Stock) -> None:
    line = b"x" * 998 + b"\n"
    path = stock.spool.path / NAME
    with open(path, "wb") as file:
        file.write(header())
        for _ in range(200):
            file.write(line * 1000)
        file.write(b"y" * 30_000_000)
        file.write(b"\n" + RULE + b"\n")
    stock.age()
    program = str(repo.plain_program())
    usage = measure([program, "-c", str(stock.spool.config), "run"], timeout=120)
    assert usage.returncode in (0, 75), usage.stderr
    [size] = [p.stat().st_size for p in (stock.spool.path / "new").iterdir()]
    assert size > 200_000_000
    assert usage.max_rss < 20_000_000
