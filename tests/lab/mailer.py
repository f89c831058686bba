"""A sendmail-like program, scripted: it records how it was called and does what it is told.

Each call leaves a file CALL.json with its words, its environment, its descriptors and its input. The
last recipient's local part says what happens:

	exit-N        it ends with status N
	words-N       the same, after lines on its error output
	hang          it reads its input, then stays for an hour
	deaf          it stays for an hour without reading, also when it is told to end
	kill          a signal ends it once it has read its input
	blind         it reads nothing and ends well
	slow-N        it waits N tenths of a second, then reads

Anything else is taken.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

_PROGRAM = """\
#!{python} -IS
import json, os, signal, sys, time
record = dict(words=sys.argv[1:], environment=dict(os.environ), group=os.getpgrp() == os.getpid(),
              open=sorted(int(n) for n in os.listdir("/proc/self/fd")), began=time.time())
record["open"].remove(max(record["open"]))  # that of the listing itself
what, _, rest = (sys.argv[-1].partition("@")[0]).partition("-")
path = "{calls}/%.9f-%d" % (time.time(), os.getpid())
open(path + ".pid", "w").close()
if what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)
if what == "slow":
    time.sleep(int(rest) / 10)
if what != "blind":
    record["input"] = sys.stdin.buffer.read().decode("latin-1")
record["ended"] = time.time()
with open(path + ".tmp", "w") as file:
    json.dump(record, file)
os.rename(path + ".tmp", path + ".json")
if what == "hang":
    time.sleep(3600)
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "words":
    sys.stdout.write("nothing to see here\\n")
    sys.stderr.write("\\n  \\x1b[31mno such\\tuser: \\x07\\r\\nmore of it\\n")
sys.exit(int(rest) if what in ("exit", "words") else 0)
"""


class Mailer:
    """The program and what it has been called with."""

    def __init__(self, directory: Path) -> None:
        self.calls_in = directory / "calls"
        self.calls_in.mkdir()
        self.path = directory / "mailer"
        self.path.write_text(_PROGRAM.format(python=sys.executable, calls=self.calls_in))
        self.path.chmod(0o755)

    @property
    def url(self) -> str:
        return f"command:{self.path}"

    def calls(self) -> List[Dict[str, Any]]:
        """Those that have read their input, or need none, in the order of their start."""
        return [json.loads(path.read_text()) for path in sorted(self.calls_in.glob("*.json"))]

    def started(self) -> List[int]:
        """The process of each call."""
        return [int(path.stem.rpartition("-")[2]) for path in sorted(self.calls_in.glob("*.pid"))]
