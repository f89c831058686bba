"""What README says of DKIM: opendkim signs at the relay, and nothing we send spoils a signature."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest

from e2e.relaying import letter, run
from lab import net, repo
from lab.child import Child
from lab.postfix import DOMAIN, Postfix
from lab.spool import Spool

dkim = pytest.importorskip("dkim", reason="python3-dkim is missing")
pytestmark = pytest.mark.skipif(
    not shutil.which("opendkim") or not shutil.which("opendkim-genkey"),
    reason="opendkim and opendkim-tools are missing",
)

GOOD = f"good@{DOMAIN}"
TEXT = (
    b"From: site@example.com\nTo: good@example.test\nSubject: A signed one\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\nMessage-ID: <1@example.com>\n\n"
    b".a line with a dot\n\nFrom one line\r\nto another  \n\n\n"
)
Make = Callable[..., Postfix]


def settings_of_the_readme() -> Tuple[str, Dict[str, str]]:
    """Both columns of README's example: opendkim.conf, and lines of main.cf."""
    text = (repo.ROOT / "README.md").read_text()
    rows = re.findall(r"^    (\w+ {2,}\S+) *(\w+ = .*)?$", text.split("### DKIM")[1], re.M)[:4]
    assert len(rows) == 4
    return (
        "".join(left + "\n" for left, _ in rows),
        dict(right.split(" = ", 1) for _, right in rows if right),
    )


@pytest.fixture
def signer(servers: ExitStack, tmp_path: Path) -> Tuple[Child, Dict[str, str], bytes]:
    """opendkim as README has it but for its port and the key's path; the lines for Postfix; and
    the record for the DNS."""
    command = ["opendkim-genkey", "-d", "example.com", "-s", "site", "-D", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    conf, lines = settings_of_the_readme()
    port = str(net.free_port())
    config = tmp_path / "opendkim.conf"
    config.write_text(
        conf.replace("8891", port).replace("/etc/dkimkeys/site.private", f"{tmp_path}/site.private")
        + "RequireSafeKeys no\n"  # the folder of a test is below one that is open to all
    )
    lines = {key: value.replace("8891", port) for key, value in lines.items()}
    child = Child(["opendkim", "-f", "-x", str(config)], tmp_path / "opendkim.out")
    servers.callback(child.stop)
    assert net.wait_for_port(int(port), child.alive, greeting=False), child.tail()
    record = "".join(re.findall(r'"([^"]*)"', (tmp_path / "site.txt").read_text()))
    return child, lines, record.encode()


def test_the_relay_signs_what_we_send(
    spool: Spool, make_postfix: Make, signer: Tuple[Child, Dict[str, str], bytes]
) -> None:
    child, lines, record = signer
    server = make_postfix(tls=False, settings=lines)
    spool.write_config(url=server.url, tls="none")
    letter(spool, GOOD, text=TEXT, sender="site@example.com")
    run(spool)
    (signed,) = server.wait_for(1)
    assert b"DKIM-Signature:" in signed
    assert dkim.verify(signed, dnsfunc=lambda name, timeout=5: record), child.tail()
    assert not dkim.verify(signed + b"x\n", dnsfunc=lambda name, timeout=5: record)


def test_mail_waits_while_the_signer_is_down(
    spool: Spool, make_postfix: Make, signer: Tuple[Child, Dict[str, str], bytes]
) -> None:
    child, lines, _ = signer
    child.stop()
    server = make_postfix(tls=False, settings=lines)
    spool.write_config(url=server.url, tls="none")
    name = letter(spool, GOOD, text=TEXT, sender="site@example.com")
    spool.run()
    assert spool.find(name).parent.name == "new"
    assert spool.state(name)[1].get("E", "4").startswith("4")
