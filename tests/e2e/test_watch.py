"""What those who watch the queue are shown: totals, relays, metrics, and the monitor's check."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import pytest
from lab import faked, logfmt, metrics, net, repo
from lab.faultactions import Delay, Hang
from lab.faultserver import FaultServer
from lab.promtool import Promtool
from lab.spool import Spool
from relaying import aim, letter, letters, run

Servers = Callable[..., FaultServer]

TO_B = ("a@example.com", ["b@example.net"])
MESSAGE = b"Subject: hello\n\ntext\n"
MIXED = {"RCPT": [None, "450 4.2.1 Busy", "550 5.1.1 No"]}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def records(spool: Spool) -> Dict[str, Dict[str, int]]:
    """state/, as {"totals": {"S": 1}}."""
    found = {}
    for name in os.listdir(spool.path / "state"):
        record, *fields = name.split(",")
        assert record not in found, name
        found[record] = {key: int(value) for key, _, value in (f.partition("=") for f in fields)}
        found[record].pop("W", None)
    return found


def down(spool: Spool) -> None:
    """The only relay can't be reached."""
    spool.write_config({}, url=f"smtp://127.0.0.1:{net.free_port()}", tls="none")


def exported(spool: Spool) -> Dict[str, float]:
    done = spool.command("status", "--prometheus")
    assert done.returncode == 0 and done.stderr == ""
    return metrics.parse(done.stdout)


# Records that survive a run


def test_totals_add_up_over_runs(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server(answers=MIXED))
    letters(spool, 3)
    run(spool)
    assert records(spool)["totals"] == {"S": 1, "D": 1, "F": 1}
    letters(spool, 4)
    run(spool)
    assert records(spool)["totals"] == {"S": 5, "D": 1, "F": 1}
    found = exported(spool)
    assert [found[f"maildrain_{name}_total"] for name in ("sent", "deferred", "failed")] == [5, 1, 1]
    assert re.search(r"^in total 5 sent, 1 deferred, 1 failed$", spool.command("status").stdout,
                     re.MULTILINE)  # fmt: skip


def test_a_message_deferred_twice_counts_twice(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server(answers={"RCPT": "450 4.2.1 Busy"}), {"retry": ["1s", "1s"]})
    letter(spool)
    run(spool)
    time.sleep(1.3)
    run(spool)
    assert records(spool)["totals"] == {"D": 2}


def test_what_fails_without_a_relay_counts_too(spool: Spool) -> None:
    down(spool)
    spool.drop(MESSAGE, "1795333316.M1P1Q1.h,X=1000", TO_B)
    run(spool, 0)
    assert records(spool)["totals"] == {"F": 1}
    assert not [name for name in records(spool) if name.startswith("relay-")], "nobody was asked"


def test_the_same_as_json(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server(answers=MIXED))
    letters(spool, 3)
    run(spool)
    status = json.loads(spool.command("status", "--json").stdout)
    found = records(spool)
    assert status["totals"] == {"sent": 1, "deferred": 1, "failed": 1}
    assert status["last_run"] == {"ended": found["run"]["T"], "milliseconds": found["run"]["D"]}
    relay = found["relay-main"]
    assert status["relays"] == [
        {"name": "main", "up": True, "since": relay["B"], "accepted": relay["S"],
         "retry": None, "rate": None, "quota": None, "used": None}
    ]  # fmt: skip
    down(spool)
    letter(spool)
    run(spool, 75)
    (now,) = json.loads(spool.command("status", "--json").stdout)["relays"]
    assert now["up"] is False and now["accepted"] == relay["S"]


def test_what_holds_up_mail_is_shown(spool: Spool) -> None:
    """Rate and quota as configured, and of the quota what the record of the relay counts."""
    url = f"smtp://127.0.0.1:{net.free_port()}"
    spool.write_config({}, url=url, tls="none", rate="200/m", quota="500/d")
    (spool.path / "state").mkdir(exist_ok=True)
    (spool.path / "state" / f"pace-main,B=2,D=38,T=5,Z={int(time.time()) // 5400}").touch()
    (relay,) = json.loads(spool.command("status", "--json").stdout)["relays"]
    assert relay["rate"] == {"recipients": 200, "seconds": 60}
    assert (relay["quota"], relay["used"]) == (500, 40)
    said = spool.command("status").stdout
    assert re.search(r"^main .*\n  at most 200/m\n  40 of 500 recipients in 24h$", said,
                     re.MULTILINE)  # fmt: skip
    found = exported(spool)
    assert found['maildrain_relay_quota_recipients{relay="main"}'] == 500
    assert found['maildrain_relay_quota_used_recipients{relay="main"}'] == 40


def test_the_last_run_with_results(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server(answers={"DOT": lambda _: Delay(0.5)}))
    letter(spool)
    before = int(time.time())
    run(spool)
    last = records(spool)["run"]
    assert before <= last["T"] <= time.time() and 500 <= last["D"] < 30_000
    time.sleep(1.1)
    run(spool)
    assert records(spool)["run"] == last, "an empty run is no news"
    found = exported(spool)
    assert found["maildrain_last_run_timestamp_seconds"] == last["T"]
    assert found["maildrain_last_run_duration_seconds"] == last["D"] / 1000
    assert "maildrain_last_run_exit_status" not in found
    assert re.search(r"^last run with results [1-9]s ago, took 0\.[5-9]s$",
                     spool.command("status").stdout, re.MULTILINE)  # fmt: skip


def test_an_empty_run_writes_nothing(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server())
    letter(spool)
    run(spool)
    places = [spool.path, *(spool.path / name for name in ("state", "new", "tmp", "failed"))]
    before = [place.stat().st_mtime_ns for place in places], os.listdir(spool.path / "state")
    run(spool)
    assert before == (
        [place.stat().st_mtime_ns for place in places], os.listdir(spool.path / "state")
    )  # fmt: skip


def test_an_outage_is_noted_once_and_ends(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server())
    letter(spool)
    run(spool)
    up = records(spool)["relay-main"]
    assert up["U"] == 1 and up["B"] == up["S"]
    down(spool)
    letter(spool)
    run(spool, 75)
    first = records(spool)["relay-main"]
    assert "U" not in first and first["S"] == up["S"], "when it was well is not forgotten"
    assert first["F"] == 1 and first["P"] == first["B"] + 60
    time.sleep(1.1)
    run(spool, 75)
    second = records(spool)["relay-main"]
    assert second["B"] == first["B"], "down since the first time"
    assert second["F"] == 2 and 120 <= second["P"] - second["B"] <= 180
    assert records(spool)["totals"] == {"S": 1}
    found = exported(spool)
    assert found['maildrain_relay_up{relay="main"}'] == 0
    assert found['maildrain_last_success_timestamp_seconds{relay="main"}'] == up["S"]
    assert found['maildrain_relay_retry_timestamp_seconds{relay="main"}'] == second["P"]
    (relay,) = json.loads(spool.command("status", "--json").stdout)["relays"]
    assert relay["retry"] == second["P"]
    said = spool.command("status").stdout
    assert re.search(r"^main +down +\d+s +\d+s ago\n  left alone for [12]m where", said, re.MULTILINE)
    aim(spool, fault_server())
    run(spool)
    again = records(spool)["relay-main"]
    assert again["U"] == 1 and again["B"] > first["B"] and not again.keys() & {"F", "P"}
    assert "left alone" not in spool.command("status").stdout


def test_a_relay_that_refuses_the_login_is_down(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=["AUTH PLAIN"], users={"site": "right"})
    aim(spool, server, user="site", password_file=spool.secret("wrong"))
    letter(spool)
    run(spool, 75)
    assert "U" not in records(spool)["relay-main"] and "totals" not in records(spool)


def test_a_relay_that_accepts_nothing_is_up_without_success(
    spool: Spool, fault_server: Servers
) -> None:
    aim(spool, fault_server(answers={"RCPT": "450 4.7.1 Not now"}))
    letter(spool)
    run(spool)
    record = records(spool)["relay-main"]
    assert record["U"] == 1 and "S" not in record
    assert "maildrain_last_success_timestamp_seconds" not in str(exported(spool))
    assert re.search(r"^main +up +\d+s +-$", spool.command("status").stdout, re.MULTILINE)


def test_a_relay_that_said_nothing_yet_is_neither_up_nor_down(
    spool: Spool, fault_server: Servers
) -> None:
    aim(spool, fault_server(answers={"CONNECT": Hang()}))
    letter(spool)
    with subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL) as process:
        time.sleep(1)
        process.terminate()
        assert process.wait(30) == 0
    assert "relay-main" not in records(spool)


def test_each_relay_has_its_own(spool: Spool, fault_server: Servers) -> None:
    closed = {"url": f"smtp://127.0.0.1:{net.free_port()}", "tls": "none"}
    well = {"url": fault_server().url, "tls": "none"}
    spool.write_config({}, relays={"first": closed, "second": well, "third": closed})
    letter(spool)
    assert [event["text"] for event in run(spool) if "url" in event] == ["mail goes to the next relay"]
    found = records(spool)
    assert "U" not in found["relay-first"] and "S" not in found["relay-first"]
    assert found["relay-second"]["U"] == 1 and found["relay-second"]["S"]
    assert "relay-third" not in found
    said = spool.command("status").stdout
    assert re.search(r"^third +not tried +- +-$", said, re.MULTILINE)
    assert 'relay="third"' not in spool.command("status", "--prometheus").stdout


def test_a_last_relay_that_is_down_leaves_mail_waiting(spool: Spool) -> None:
    down(spool)
    letter(spool)
    assert [event["text"] for event in run(spool, 75) if "url" in event] == ["mail waits"]


def test_several_runs_at_once_lose_no_count(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server(), {"shared_spool": True})
    for _ in range(5):
        letters(spool, 12)
        running = [
            subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL) for _ in range(4)
        ]
        assert [process.wait(60) for process in running] == [0] * 4
    assert records(spool)["totals"]["S"] == 60


def test_records_that_can_not_be_written_hold_up_no_mail(
    spool: Spool, fault_server: Servers
) -> None:
    aim(spool, fault_server())
    name = letter(spool)
    shutil.rmtree(spool.path / "state")
    (spool.path / "state").touch()
    events = run(spool, 74)
    assert spool.state(name) == ("cur", {"A": "1"})
    assert any(event["event"] == "error" and "state" in event["text"] for event in events)
    assert events[-1]["event"] == "run" and events[-1]["exit"] == "74"


# Metrics


def test_metrics_are_well_formed(spool: Spool, fault_server: Servers, promtool: Promtool) -> None:
    assert promtool.check_metrics("# HELP x_total y\n# TYPE x_total gauge\nx_total 1\n"), "it looks"
    assert promtool.check_metrics(spool.command("status", "--prometheus").stdout) == ""
    path = spool.config.parent / "maildrain.prom"
    aim(spool, fault_server(answers=MIXED), {"metrics_file": path})
    letters(spool, 3)
    run(spool)
    assert promtool.check_metrics(spool.command("status", "--prometheus").stdout) == ""
    assert promtool.check_metrics(path.read_text()) == ""


def test_metrics_say_what_is_in_the_spool(spool: Spool) -> None:
    now = int(time.time())
    waiting = {f"{now - 100}.M1P1Q1.h": "", f"{now - 700}.M1P1Q2.h": f",T={now - 60}",
               f"{now - 9000}.M1P1Q3.h": f",T={now + 500}", "by-hand": ""}  # fmt: skip
    deferred = ["4.2.1", "4.2.2", "4.7.0", "4.9.1", ""]
    for unique, fields in waiting.items():
        spool.drop(MESSAGE, unique + fields, TO_B)
    for number, status in enumerate(deferred):
        status = f",E={status}" if status else ""
        spool.drop(MESSAGE, f"{now - 5000}.M2P1Q{number}.h,A=2{status},T={now + 900}", TO_B)
    spool.drop(MESSAGE, f"{now - 40}.M3P1Q1.h,A=1,C=other-7,T={now + 3600}", TO_B)
    for folder, name in (("cur", ",A=1:2,S"), ("failed", ",A=1,E=5.1.1"), ("failed", ",A=2,E=5.1.1")):
        (spool.path / folder / f"{now - 400}.M4P1Q1.h{name}").write_bytes(MESSAGE)
    found = exported(spool)

    def of(name: str, label: str) -> Dict[str, float]:
        pattern = re.compile(rf'maildrain_{name}\{{{label}="(.*)"\}}')
        return {m[1]: found[key] for key in found for m in [pattern.fullmatch(key)] if m}

    counts = {"waiting": 4, "in_flight": 1, "deferred": 5, "failed": 2, "sent": 1}
    assert of("messages", "state") == counts
    ages = {"waiting": 9000, "in_flight": 40, "deferred": 5000, "failed": 400, "sent": 400}
    assert of("oldest_message_age_seconds", "state") == pytest.approx(ages, abs=5)
    assert found["maildrain_due_messages"] == 3
    # The second is older, but was not to be sent before.
    assert found["maildrain_due_age_seconds"] == pytest.approx(100, abs=5)
    assert {status: n for status, n in of("deferred_messages", "status").items() if n} == {
        "4.2": 2, "4.7": 1, "other": 2,
    }  # fmt: skip
    assert len(of("deferred_messages", "status")) == 9


@pytest.fixture
def published(spool: Spool) -> Path:
    """Where the metrics go, in a folder of their own."""
    path = spool.config.parent / "collector" / "maildrain.prom"
    path.parent.mkdir()
    return path


def test_each_run_leaves_its_metrics(
    spool: Spool, fault_server: Servers, published: Path
) -> None:
    aim(spool, fault_server(answers=MIXED), {"metrics_file": published})
    letters(spool, 3)
    before = int(time.time())
    previous = os.umask(0o077)
    try:
        run(spool)
    finally:
        os.umask(previous)
    assert os.listdir(published.parent) == [published.name]
    assert stat.S_IMODE(published.stat().st_mode) == 0o644
    found = metrics.parse(published.read_text())
    assert found["maildrain_sent_total"] == found['maildrain_messages{state="sent"}'] == 1
    assert found['maildrain_relay_up{relay="main"}'] == 1
    assert before <= found["maildrain_last_run_timestamp_seconds"] <= time.time()
    assert found["maildrain_last_run_exit_status"] == 0
    assert metrics.names(published.read_text()) > metrics.names(
        spool.command("status", "--prometheus").stdout
    )


def test_a_run_without_mail_too_and_in_one_step(
    spool: Spool, fault_server: Servers, published: Path
) -> None:
    aim(spool, fault_server(), {"metrics_file": published})
    run(spool)
    first = metrics.parse(published.read_text())
    reader = open(published)
    time.sleep(1.1)
    run(spool)
    second = metrics.parse(published.read_text())
    name = "maildrain_last_run_timestamp_seconds"
    assert second[name] > first[name]
    with reader:
        assert metrics.parse(reader.read()) == first, "who reads finds one whole file or the other"


def test_a_failed_run_too(spool: Spool, published: Path) -> None:
    down(spool)
    spool.config.write_text(f'metrics_file = "{published}"\n' + spool.config.read_text())
    letter(spool)
    run(spool, 75)
    found = metrics.parse(published.read_text())
    assert found["maildrain_last_run_exit_status"] == 75
    assert found['maildrain_relay_up{relay="main"}'] == 0
    assert found["maildrain_due_messages"] == 1


def test_a_busy_run_leaves_them_alone(
    spool: Spool, fault_server: Servers, published: Path
) -> None:
    aim(spool, fault_server(), {"metrics_file": published})
    fd = os.open(spool.path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    run(spool)
    assert not published.exists()
    os.close(fd)
    run(spool)
    assert published.exists()


def test_metrics_that_can_not_be_written_hold_up_no_mail(
    spool: Spool, fault_server: Servers, published: Path
) -> None:
    aim(spool, fault_server(), {"metrics_file": published})
    published.mkdir()
    name = letter(spool)
    events = run(spool, 74)
    assert spool.state(name)[0] == "cur"
    (error,) = [event for event in events if event["event"] == "error"]
    assert str(published) in error["text"]
    assert os.listdir(published.parent) == [published.name], "no litter"
    assert events[-1]["exit"] == "74"
    run(spool, 74)
    published.rmdir()
    run(spool, 0)
    assert published.is_file()


def test_a_full_disk_leaves_the_old_metrics(
    spool: Spool, fault_server: Servers, published: Path
) -> None:
    aim(spool, fault_server(), {"metrics_file": published})
    run(spool)
    before = published.read_bytes()
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash"]
    # The limit is of 1,024 bytes, less than the metrics have.
    assert len(before) > 1024
    done = subprocess.run([*limited, *spool.argv("run")], capture_output=True, text=True)
    assert done.returncode == 74 and str(published) in done.stderr
    assert published.read_bytes() == before and len(os.listdir(published.parent)) == 1


def test_a_long_run_shows_how_far_it_is(
    spool: Spool, fault_server: Servers, published: Path
) -> None:
    """Under a clock that goes sixty times as fast, a second is a minute."""
    if faked.why_not():
        pytest.skip(str(faked.why_not()))
    aim(spool, fault_server(answers={"DOT": lambda _: Delay(0.8)}), {"metrics_file": published})
    letters(spool, 6)
    program = [str(repo.plain_program()), "-c", str(spool.config), "run"]
    seen: List[Dict[str, float]] = []
    with subprocess.Popen([*faked.clock("+0 x60"), *program], stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            if published.exists():
                seen.append(metrics.parse(published.read_text()))
            time.sleep(0.05)
    assert process.returncode == 0
    midst = [found for found in seen if "maildrain_last_run_exit_status" not in found]
    assert any(0 < found["maildrain_sent_total"] < 6 for found in midst), seen
    assert any(found.get('maildrain_relay_up{relay="main"}') == 1 for found in midst)
    assert len({found["maildrain_last_run_timestamp_seconds"] for found in midst}) > 1
    assert records(spool)["totals"] == {"S": 6}, "each counted once"


# check


class Verdict(NamedTuple):
    state: str
    words: str
    data: Dict[str, "Value"]


class Value(NamedTuple):
    value: float
    unit: str
    warning: Optional[float]
    critical: Optional[float]
    minimum: Optional[float]


STATES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
NUMBER = r"-?\d+(?:\.\d+)?"
DATUM = re.compile(
    rf"'?([^'= ]+)'?=({NUMBER})(s|us|ms|%|B|KB|MB|TB|c)?"
    rf"(?:;({NUMBER})?)?(?:;({NUMBER})?)?(?:;({NUMBER})?)?(?:;({NUMBER})?)?"
)


def plugin(done: "subprocess.CompletedProcess[str]") -> Verdict:
    """Reads what a plugin has to say, by the letter of the guidelines."""
    lines = done.stdout.splitlines()
    assert len(lines) == 1 and done.stdout.endswith("\n"), done
    match = re.fullmatch(r"MAILDRAIN (OK|WARNING|CRITICAL|UNKNOWN) - ([^|]+?)(?: \|((?: [^ ]+)+))?",
                         lines[0])  # fmt: skip
    assert match, lines[0]
    assert done.returncode == STATES[match[1]]
    assert len(lines[0]) < 1024 and lines[0].isprintable()
    data = {}
    for item in (match[3] or "").split():
        datum = DATUM.fullmatch(item)
        assert datum, item
        numbers = [float(text) if text else None for text in datum.groups()[3:6]]
        data[datum[1]] = Value(float(datum[2]), datum[3] or "", *numbers)
    return Verdict(match[1], match[2], data)


def check(spool: Spool, *args: str) -> Verdict:
    return plugin(spool.command("check", *args))


def drop_due(spool: Spool, age: int) -> str:
    return spool.drop(MESSAGE, f"{int(time.time()) - age}.M1P1Q{age}.h", TO_B)


def test_check_of_an_empty_spool(spool: Spool) -> None:
    verdict = check(spool)
    assert verdict.state == "OK" and "0 waiting" in verdict.words
    assert verdict.data["due_age"] == Value(0, "s", 900, 3600, 0)
    assert set(verdict.data) == {"due_age", "due", "waiting", "in_flight", "deferred", "failed"}
    assert verdict.data["failed"] == Value(0, "", None, None, 0)


@pytest.mark.parametrize("age, state", [(5, "OK"), (890, "OK"), (910, "WARNING"), (3590, "WARNING"),
                                        (3610, "CRITICAL")])  # fmt: skip
def test_check_of_the_age(spool: Spool, age: int, state: str) -> None:
    drop_due(spool, age)
    verdict = check(spool)
    assert verdict.state == state and "1 waiting, 0 deferred, oldest due " in verdict.words
    assert age <= verdict.data["due_age"].value <= age + 5


def test_check_with_other_thresholds(spool: Spool) -> None:
    drop_due(spool, 100)
    assert check(spool, "--warning", "2m").state == "OK"
    verdict = check(spool, "--warning=90s", "--critical=1d")
    assert verdict.state == "WARNING"
    assert verdict.data["due_age"][2:] == (90, 86400, 0)
    assert check(spool, "--critical", "90s", "--warning", "0").state == "CRITICAL"


def test_check_goes_by_the_time_of_the_next_attempt(spool: Spool) -> None:
    now = int(time.time())
    for until in (now + 600, now - 10):
        spool.drop(MESSAGE, f"{now - 50_000}.M1P1Q{until}.h,A=5,E=4.2.1,T={until}", TO_B)
    verdict = check(spool)
    assert verdict.state == "OK"
    assert 10 <= verdict.data["due_age"].value <= 15 and verdict.data["due"].value == 1


def test_check_of_failed_mail(spool: Spool) -> None:
    for number in range(3):
        (spool.path / "failed" / f"1795333316.M1P1Q{number}.h,A=1,E=5.1.1").write_bytes(MESSAGE)
    assert check(spool).state == "OK"
    assert check(spool, "--failed-warning", "3").state == "OK"
    verdict = check(spool, "--failed-warning", "2", "--failed-critical", "10")
    assert verdict.state == "WARNING" and "3 failed" in verdict.words
    assert verdict.data["failed"] == Value(3, "", 2, 10, 0)
    assert check(spool, "--failed-critical", "2").state == "CRITICAL"


def test_check_of_a_relay_that_is_down(spool: Spool) -> None:
    down(spool)
    letter(spool)
    assert check(spool).state == "OK", "not tried yet"
    run(spool, 75)
    verdict = check(spool)
    assert verdict.state == "WARNING" and verdict.words.startswith("relay main down for ")
    drop_due(spool, 4000)
    assert check(spool).state == "CRITICAL"


@pytest.mark.parametrize(
    "args",
    [
        ["--warning"], ["--warning", "15"], ["--warning", "10:20"], ["--critical", "x"],
        ["--warning", "2h"], ["--failed-warning", "-1"], ["--failed-critical", "1.5"],
        ["--failed-warning=5", "--failed-critical=4"], ["--nonsense"], ["now"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_check_called_wrongly_is_unknown(spool: Spool, args: List[str]) -> None:
    assert check(spool, *args).state == "UNKNOWN"


def test_check_that_sees_nothing_is_unknown(spool: Spool) -> None:
    shutil.rmtree(spool.path)
    verdict = check(spool)
    assert verdict.state == "UNKNOWN" and str(spool.path) in verdict.words and not verdict.data
    spool.config.write_text("spool = 7 | x\n")
    assert check(spool).state == "UNKNOWN"
    spool.config.unlink()
    assert check(spool).state == "UNKNOWN"


@needs_root
def test_check_that_may_not_look_is_unknown(spool: Spool) -> None:
    for parent in spool.path.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(0o755)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*become, *spool.argv("check")], capture_output=True, text=True)
    assert plugin(done).state == "UNKNOWN"


def test_check_that_can_not_speak_is_unknown(spool: Spool) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(spool.argv("check"), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3


# alert

FAILED = {"MONITOR_SERVICE_RESULT": "exit-code", "MONITOR_EXIT_STATUS": "75"}


def pager(spool: Spool, script: str) -> None:
    words = ["/bin/sh", "-c", script, "pager", "two words"]
    options = {"alert_command": words}
    spool.write_config(options, url=f"smtp://127.0.0.1:{net.free_port()}", tls="none")


def alert(spool: Spool, **env: str) -> Any:
    return spool.command("alert", "maildrain.service", env=env)


def test_alert_tells_the_log_and_the_command(spool: Spool) -> None:
    pager(spool, 'echo "$#|$1|$2|$MAILDRAIN_ALERT|$MAILDRAIN_UNIT"; ! read word')
    drop_due(spool, 7500)
    run(spool, 75)
    done = alert(spool, **FAILED)
    assert done.returncode == 0
    said, ended = logfmt.parse(done.stderr)
    sentence = said["text"]
    assert re.fullmatch(
        r"maildrain\.service on \S+ has failed: no relay takes mail \(exit status 75\); "
        r"1 message is due, the oldest for 2h 5m; relay main is down for \d+s", sentence
    )  # fmt: skip
    assert (said["event"], said["unit"], said["relay"]) == ("alert", "maildrain.service", "main")
    assert [said[key] for key in ("waiting", "deferred", "failed")] == ["1", "0", "0"]
    assert 7500 <= int(said["oldest"]) <= 7510
    assert (ended["event"], ended["command"], ended["exit"]) == ("alert-command", "/bin/sh", "0")
    assert done.stdout == f"2|two words|{sentence}|{sentence}|maildrain.service\n"


def test_alert_has_its_priority(spool: Spool, tmp_path: Path) -> None:
    pager(spool, "exit 3")
    with open(tmp_path / "journal", "w") as stream:
        st = os.fstat(stream.fileno())
        env = {**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}
        argv = spool.argv("alert", "maildrain.service")
        assert subprocess.run(argv, stderr=stream, env=env).returncode == 69
    lines = (tmp_path / "journal").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["<1>alert", "<3>alert-command"]
    assert " exit=3 " in lines[1]


def test_alert_without_a_command(spool: Spool) -> None:
    done = alert(spool)
    assert done.returncode == 0 and done.stdout == ""
    assert [event["event"] for event in logfmt.parse(done.stderr)] == ["alert"]


def test_alert_whose_command_is_missing(spool: Spool) -> None:
    spool.write_config({"alert_command": ["/nowhere/page"]}, url="smtp://127.0.0.1:1", tls="none")
    done = alert(spool)
    assert done.returncode == 69
    assert "/nowhere/page" in logfmt.parse(done.stderr)[1]["text"]


def test_alert_whose_command_dies(spool: Spool) -> None:
    pager(spool, "kill -9 $$")
    done = alert(spool)
    assert done.returncode == 69 and logfmt.parse(done.stderr)[1]["signal"] == "9"


def test_alert_calls_somebody_also_without_the_spool(spool: Spool) -> None:
    pager(spool, 'echo "$2"')
    shutil.rmtree(spool.path)
    done = alert(spool, **{**FAILED, "MONITOR_EXIT_STATUS": "78"})
    assert done.returncode == 0
    assert "something is wrong in the configuration" in done.stdout
    assert f"its queue can't be read: " in done.stdout and str(spool.path) in done.stdout


def test_alert_without_a_config_says_so_in_the_log(spool: Spool) -> None:
    spool.config.write_text("spol = 1\n")
    done = alert(spool, **FAILED)
    assert done.returncode == 78
    (said,) = logfmt.parse(done.stderr)
    assert said["event"] == "alert" and "did you mean 'spool'" in said["text"]


def test_alert_finds_the_config_of_a_template() -> None:
    unit = "maildrain@no-such-spool.service"
    done = subprocess.run([str(repo.program()), "alert", unit], capture_output=True, text=True)
    (said,) = logfmt.parse(done.stderr)
    assert re.search(r"/maildrain/no-such-spool\.conf\b", said["text"]) and done.returncode == 78


@pytest.mark.parametrize("unit", [None, "maildrain@../x.service", "maildrain@.service"])
def test_alert_called_wrongly(spool: Spool, unit: Optional[str]) -> None:
    argv = [str(repo.program()), "alert", *([unit] if unit else [])]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 64 and "--help" in done.stderr


@needs_root
def test_alert_gives_up_the_rights_of_root(spool: Spool) -> None:
    for parent in (spool.config, *spool.path.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(0o755)
    pager(spool, "id -u")
    for path in (spool.path, *spool.path.iterdir()):
        os.chown(path, 65534, 65534)
    assert alert(spool).stdout == "65534\n"
