"""The bench's own tools: figures are worth as much as what measures them."""

from __future__ import annotations

import socket
import statistics
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import List

import pytest

from bench import chart, compare, matrix, path, readme, table
from bench.cell import TLS, Cell
from bench.compare import Comparison, Result
from bench.mta import Dma, Nullmailer, Postfix
from bench.senders import DjangoSmtp, Maildrain, SmtpSource
from bench.syscalls import per_message
from bench.tools import Cost, Distance, have_groups, launch
from lab import net
from lab.measure import have_strace
from lab.sink import available

BURN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"


@pytest.mark.parametrize("milliseconds", [10, 40])
def test_a_byte_is_held_for_half_the_round_trip_each_way(milliseconds: int) -> None:
    times = path.round_trips(milliseconds / 1000, 20)
    assert min(times) >= milliseconds / 1000
    assert statistics.median(times) < milliseconds / 1000 + 0.01


def _sent_through(content: bytes, seconds: float) -> List[bytes]:
    """What comes out when CONTENT and then the end of the stream go through the relay to a peer
    that takes its time, so that octets which are due have to wait."""
    received: List[bytes] = []

    def take(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            time.sleep(0.3)
            while octets := peer.recv(1 << 20):
                received.append(octets)
            peer.sendall(b"got it")

    with net.listener() as listener, Distance(listener.getsockname()[1], seconds) as distance:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        thread = threading.Thread(target=take, args=(listener,), daemon=True)
        thread.start()
        with socket.create_connection((net.HOST, distance.port), timeout=30) as peer:
            peer.sendall(content)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(100) == b"got it"
            assert peer.recv(100) == b""
        thread.join(10)
    return received


def test_the_relay_keeps_every_octet_in_order() -> None:
    content = b"".join(b"%08d" % number for number in range(1_000_000))
    assert b"".join(_sent_through(content, 0.01)) == content


def test_the_launcher_counts_what_a_command_leaves_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    alone = launch(["/bin/sh", "-c", BURN], log)
    orphan = launch(["/bin/sh", "-c", f"(setsid /bin/sh -c '{BURN}' &) ; exit 0"], log)
    assert orphan.cpu > alone.cpu / 3
    assert orphan.wall > alone.wall / 3


@pytest.mark.skipif(not have_groups(), reason="control groups can't be made here")
def test_the_launcher_counts_whom_nobody_waits_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    alone = launch(["/bin/sh", "-c", BURN], log)
    script = "import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
    script += f"os.spawnl(os.P_NOWAIT, '/bin/sh', 'sh', '-c', {BURN!r}); "
    script += f"import time; time.sleep({3 * alone.wall + 0.5})"
    ignored = launch(["/usr/bin/python3", "-I", "-c", script], log)
    assert ignored.cpu > alone.cpu / 2


def test_the_launcher_tells_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit 3"):
        launch(["/bin/sh", "-c", "exit 3"], tmp_path / "log")


def _result(sender: str, rate: float, cell: Cell = Cell(0, 4), parallel: bool = True) -> Result:
    costs = [Cost(100 / rate * noise, 0.1, 5_000_000) for noise in (1, 2, 0.5)]
    return Result(cell, sender, parallel, 100, costs)


def _comparison(*results: Result) -> Comparison:
    names = [result.sender for result in results]
    known = {"CPU": "c", "memory": "m", "kernel": "k", "file system": "f", "system": "s"}
    return Comparison(
        {**known, "libcurl": "1"},
        {name: f"of {name}" for name in names},
        {name: "a note" for name in names},
        list(results),
    )


def test_ratios_are_of_medians() -> None:
    shown = table.text(
        _comparison(
            _result(Maildrain.name, 3000),
            _result(Postfix.name, 1000),
            _result(SmtpSource.name, 2000),
        )
    )
    (line,) = [line for line in shown.splitlines() if line.startswith("maildrain  ")]
    assert line.split() == [
        "maildrain", "100", "3,000", "1,500", "6,000", "3.00", "1.50", "1.000", "5.0"
    ]  # fmt: skip


def test_messages_per_round_trip_and_connection() -> None:
    assert _result(Maildrain.name, 76, Cell(50, 4)).per_trip == pytest.approx(0.95)
    assert _result(Maildrain.name, 76, Cell(0, 4)).per_trip is None


def test_results_survive_being_saved(tmp_path: Path) -> None:
    comparison = _comparison(_result(Maildrain.name, 3000, Cell(20, 4, way=TLS)))
    comparison.save(tmp_path / "results.json")
    assert compare.load(tmp_path / "results.json") == comparison


def test_the_chart_is_xml_and_its_bars_are_longer_for_the_faster() -> None:
    image = chart.svg(_comparison(_result(Maildrain.name, 9000), _result(Postfix.name, 1000)))
    assert image
    root = ElementTree.fromstring(image)
    name = "{http://www.w3.org/2000/svg}"
    bars = [(bar.get("class"), float(bar.get("width", "0"))) for bar in root.iter(f"{name}rect")]
    assert [kind for kind, _ in bars] == ["own", "bar"]
    assert bars[0][1] > bars[1][1]
    words = [text.text for text in root.iter(f"{name}text")]
    assert "maildrain" in words and "9,000" in words


def test_the_readme_keeps_what_is_around_the_table() -> None:
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    assert readme.between(text, "new") == f"before\n{readme.BEGIN}\nnew\n{readme.END}\nafter\n"
    for broken in ("nothing", readme.BEGIN, readme.END, text + text):
        with pytest.raises(ValueError):
            readme.between(broken, "new")


@pytest.mark.parametrize("plan", [matrix.QUICK, matrix.FULL])
def test_every_sender_is_tried_and_not_for_ever(plan: matrix.Plan) -> None:
    for kind in (Maildrain, SmtpSource, Postfix, DjangoSmtp, Dma, Nullmailer):
        sender = kind.__new__(kind)
        cells = [cell for cell in plan.cells if matrix.tries(sender, cell, plan.cells)]
        assert cells
        for cell in cells:
            count = matrix.count(sender, cell, plan)
            assert 0 < count <= sender.most
            assert count * cell.length <= 1_000_000_000


@pytest.mark.skipif(not have_strace(), reason="strace can't trace here")
@pytest.mark.skipif(not available(), reason="smtp-sink is missing: install the package postfix")
def test_system_calls_per_message(tmp_path: Path) -> None:
    calls = per_message(tmp_path, 500)
    assert calls["renameat2"] == pytest.approx(2, abs=0.01)
    assert sum(calls.values()) < 12
