"""The whole configs in etc/examples: each is accepted, and comes with the documentation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab import repo

EXAMPLES = sorted((repo.ROOT / "etc" / "examples").iterdir())


def test_there_are_some() -> None:
    assert {"two-relays-with-route.conf", "staging.conf"} <= {path.name for path in EXAMPLES}
    assert {path.suffix for path in EXAMPLES} == {".conf"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_accepted(path: Path) -> None:
    """By all that verify asks of a config, with no relay asked; and mail goes somewhere."""
    done = subprocess.run(
        [repo.program(), "-c", path, "verify", "--route", "a@example.com", "b@example.net"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "  1. " in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_readable(path: Path) -> None:
    """It starts with what it is for, and is as wide as the config that is installed."""
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 100
