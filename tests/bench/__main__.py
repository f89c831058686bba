"""The bench: PYTHONPATH=tests python3 -m bench COMMAND. `make help` lists the short ways in.

compare       maildrain beside other senders: see matrix.py, senders.py, mta.py, receiver.py
drain         maildrain beside smtp-source alone: 10,000 messages, 4 connections
path          the delaying relay itself: that it limits nothing
scale         queues of 10,000 to 1,000,000, and peak memory
empty         a run on an empty spool
syscalls      system calls per message
fair          a large message among small ones; high priority in a long queue
instructions  instructions per message, compared with the committed number
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, Dict

from lab import repo

from . import compare, empty, fair, instructions, matrix, path, readme, scale, syscalls, table
from .senders import Maildrain, SmtpSource

Options = argparse.Namespace


def _failed(comparison: compare.Comparison) -> int:
    """1 when maildrain itself did not send all that it should."""
    return int(any(r.fault for r in comparison.results if r.sender == Maildrain.name))


def _compare(options: Options) -> int:
    if options.again:
        result = compare.load(compare.RESULTS)
    else:
        plan = matrix.QUICK if options.quick else matrix.FULL
        result = compare.compare(
            plan, senders=options.sender, directory=options.directory, keep=compare.RESULTS
        )
    print(table.text(result))
    if options.write:
        readme.write(result)
    return _failed(result)


def _drain(options: Options) -> int:
    names = (Maildrain.name, SmtpSource.name)
    result = compare.compare(matrix.DRAIN, senders=names, directory=options.directory)
    print(table.text(result))
    return _failed(result)


COMMANDS: Dict[str, Callable[[Options], int]] = {
    "compare": _compare,
    "drain": _drain,
    "path": lambda options: path.main(),
    "scale": lambda options: scale.main(options.directory, options.long),
    "empty": lambda options: empty.main(),
    "syscalls": lambda options: syscalls.main(),
    "fair": lambda options: fair.main(),
    "instructions": lambda options: instructions.main(options.update),
}


def _parsed() -> Options:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--directory", type=Path, help="where the queues are made (build/bench)")
    parser.add_argument("--quick", action="store_true", help="compare: three places, a minute")
    parser.add_argument("--sender", action="append", default=[], help="compare: only this one")
    parser.add_argument("--write", action="store_true", help="compare: into README.md and a chart")
    parser.add_argument("--again", action="store_true", help="compare: show the last results")
    parser.add_argument("--long", action="store_true", help="scale: up to 1,000,000 messages")
    parser.add_argument("--update", action="store_true", help="instructions: note the number")
    return parser.parse_args()


def main() -> int:
    options = _parsed()
    if not repo.program().exists():
        raise SystemExit(f"{repo.program()} is missing: run make first")
    return COMMANDS[options.command](options)


if __name__ == "__main__":
    raise SystemExit(main())
