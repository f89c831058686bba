"""python3 -m faults [--short] [FAMILY…]: runs the campaign, prints its table."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, List

from .report import HEADER, Row, line

FAMILIES = ("crash", "errors", "disk", "powercut", "server", "shared", "world")


def _rows(family: str, short: bool) -> Iterator[Row]:
    module = importlib.import_module(f"faults.{family}")
    with tempfile.TemporaryDirectory(prefix=f"maildrain-{family}-") as scratch:
        os.chmod(scratch, 0o755)
        yield from module.rows(short, Path(scratch))


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a sample of the cases, in a minute")
    parser.add_argument("family", nargs="*", help=f"of {', '.join(FAMILIES)}; none: all")
    options = parser.parse_args(argv)
    totals = []
    passed = failed = 0
    print(HEADER, flush=True)
    for family in options.family or FAMILIES:
        total = Row(f"all of {family}")
        start = time.monotonic()
        for row in _rows(family, options.short):
            print(line(row), flush=True)
            total.include(row)
            passed += row.good
            failed += not row.good
        total.fault += f", {time.monotonic() - start:.0f} s"
        totals.append(total)
    print("\n".join(["", HEADER, *map(line, totals), f"{passed} passed, {failed} failed"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
