"""What the page costs with 100,000 messages in the spool."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
from adminsite import AdminSite, letter, put

MESSAGES = 100_000
SECONDS = 10  # about one on a machine of today; this is for one that is busy


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Path]:
    """Links would be faster to make, but are no messages."""
    spool = tmp_path / "spool"
    for name in ("tmp", "new", "cur", "failed"):
        (spool / name).mkdir(parents=True)
    for number in range(MESSAGES):
        fields = f",A=1,E=4.2.2,T={1795333375 + number}" if number % 2 else ""
        name = f"17953333{number % 100:02}.M{number:06}P1Q{number}.web1{fields}"
        os.close(os.open(spool / "new" / name, os.O_WRONLY | os.O_CREAT, 0o640))
    yield spool
    shutil.rmtree(spool)


def test_a_page_opens_its_own_files_alone(
    crowded: Path, make_site: Callable[..., AdminSite]
) -> None:
    id = put(crowded, letter("a needle"), ",P=9")
    site = make_site(crowded)
    visitor = site.visitor()
    for query in ({}, {"p": 2000}, {"p": 1001, "state": "deferred"}):
        site.opened_files()
        start = time.monotonic()
        page = visitor.get(**query)
        assert time.monotonic() - start < SECONDS
        assert page.status == 200
        assert len(site.opened_files()) == len(page.ids) <= 50
    start = time.monotonic()
    page = visitor.get(f"/admin/maildrain/queue/{id}/change/")
    assert time.monotonic() - start < SECONDS
    assert "The text of a needle." in page.text
    assert site.opened_files() == [f"{id},P=9"]
