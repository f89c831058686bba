"""How many system calls a message costs: what time it takes follows from them, and they don't vary
with the load of the machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from lab.django_site import DjangoSite
from lab.measure import have_strace, trace

pytestmark = pytest.mark.skipif(not have_strace(), reason="needs strace, and leave to trace")

SEND = """
letters = [EmailMessage("x", "text", None, ["b@example.net"]) for _ in range(%d)]
get_connection("maildrain.%s.EmailBackend").send_messages(letters)
"""
BARE = Counter(openat=1, write=1, fsync=2, close=1, rename=1)
BARE += Counter(getpid=1)  # Django's, for a Message-ID
# fork() may have changed the process, somebody the host's name. A descriptor of new/ is not kept.
FILEBASED = BARE + Counter(openat=1, close=1, fchmod=1, uname=1, getpid=1)
BULK = BARE + Counter(fchmod=1, fadvise64=1) - Counter(fsync=1)
MEMORY = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "futex")


def _calls(spool: Path, module: str, count: int) -> "Counter[str]":
    site = DjangoSite(spool)
    done = trace(site.argv(SEND % (count, module)), env=site.env())
    assert done.returncode == 0, done.stderr
    assert len(list((spool / "new").iterdir())) >= count
    return Counter({name: n for name, n in done.counts.items() if name not in MEMORY})


@pytest.mark.parametrize("module, expected", [("filebased", FILEBASED), ("bulk", BULK)])
def test_of_a_message(spool_path: Path, module: str, expected: "Counter[str]") -> None:
    """A hundred more messages make so many calls more, and hardly any others."""
    more = _calls(spool_path, module, 150) - _calls(spool_path, module, 50)
    each = Counter({name: round(count / 100) for name, count in more.items()})
    assert +each == expected
    assert sum(more.values()) <= 100 * sum(expected.values()) + 20
