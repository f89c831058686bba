"""The alert rules and the dashboard: well-formed, tested, and about metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from lab import metrics, net, repo
from lab.faultserver import FaultServer
from lab.promtool import Promtool
from lab.spool import Spool
from relaying import letter, run

RULES = repo.ROOT / "etc" / "maildrain.rules.yml"
RULE_TESTS = repo.ROOT / "tests" / "prometheus" / "rules.test.yml"
DASHBOARD = repo.ROOT / "etc" / "maildrain-dashboard.json"
MAN = repo.ROOT / "src" / "maildrain.8"

ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


@pytest.fixture
def exported(spool: Spool, fault_server: Callable[..., FaultServer]) -> str:
    """All metrics, as a run leaves them over a relay with a quota, with another one down."""
    path = spool.config.parent / "maildrain.prom"
    relays = {
        "down": {"url": f"smtp://{net.HOST}:{net.free_port()}", "tls": "none"},
        "up": {"url": fault_server().url, "tls": "none", "quota": "100/d"},
    }
    spool.write_config({"metrics_file": path}, relays=relays)
    letter(spool)
    run(spool)
    return path.read_text()


# Rules


def test_rules_are_well_formed(promtool: Promtool) -> None:
    assert promtool.check_rules(RULES) == ""


def test_each_alert_fires_when_it_should_and_not_before(promtool: Promtool) -> None:
    assert promtool.test_rules(RULE_TESTS) == ""


def test_each_alert_has_both_tests() -> None:
    text = RULE_TESTS.read_text()
    for alert in ALERTS:
        cases = re.findall(rf"alertname: {alert}\n +eval_time: \S+\n +exp_alerts:(.*)", text)
        assert " []" in cases and "" in cases, alert


@pytest.mark.parametrize("alert", ALERTS)
def test_the_test_of_an_alert_can_fail(promtool: Promtool, tmp_path: Path, alert: str) -> None:
    """Without the rule its test fails, and so it does when the alert always fires."""
    rules = RULES.read_text()
    (rule,) = re.findall(rf"^ +- alert: {alert}$.*?(?=^ +- alert:|\Z)", rules, re.M | re.S)
    tests = RULE_TESTS.read_text().replace("../../etc/", "")
    (tmp_path / RULE_TESTS.name).write_text(tests)
    always = re.sub(r"expr: .*?(?=\n +for:)", "expr: 0 < bool vector(1)", rule, flags=re.S)
    always = re.sub(r"\n +for: \w+", "", always)
    assert "vector" in always and "for:" not in always
    for changed in ("", always):
        (tmp_path / RULES.name).write_text(rules.replace(rule, changed))
        assert f"alertname: {alert}, " in promtool.test_rules(tmp_path / RULE_TESTS.name)


def test_each_alert_tells_a_person_what_to_do() -> None:
    rules = RULES.read_text()
    for rule in re.split(r"^ +- alert: ", rules, flags=re.MULTILINE)[1:]:
        assert re.search(r"^ +for: \d+[mh]$", rule, re.MULTILINE), rule
        assert re.search(r"^ +severity: (critical|warning|info)$", rule, re.MULTILINE), rule
        assert re.search(r"^ +summary: \".*\$labels\.instance.*\"$", rule, re.MULTILINE), rule
        assert re.search(r"^ +description: >-$", rule, re.MULTILINE), rule


def test_rules_read_only_what_is_exported(exported: str) -> None:
    assert metrics.names(RULES.read_text()) <= metrics.names(exported)
    assert metrics.names(RULE_TESTS.read_text()) <= metrics.names(exported)


# The dashboard


def dashboard() -> Dict[str, Any]:
    found = json.loads(DASHBOARD.read_text())
    assert isinstance(found, dict)
    return found


def targets() -> Iterator[Dict[str, Any]]:
    for panel in dashboard()["panels"]:
        yield from panel["targets"]


def test_dashboard_shows_what_is_exported(exported: str) -> None:
    shown = metrics.names(" ".join(target["expr"] for target in targets()))
    assert shown == metrics.names(exported) - {"maildrain_build_info"}


def test_expressions_of_the_dashboard_parse(promtool: Promtool, tmp_path: Path) -> None:
    """As rules, for promtool looks at nothing else."""
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, target in enumerate(targets()):
        expr = target["expr"].replace("$__rate_interval", "5m").replace("$instance", "web1")
        assert "$" not in expr
        lines += [f"  - record: panel:{number}", f"    expr: {json.dumps(expr)}"]
    rules = tmp_path / "rules.yml"
    rules.write_text("\n".join(lines) + "\n")
    assert promtool.check_rules(rules) == ""
    rules.write_text(rules.read_text().replace("sum by", "sum bye"))
    assert promtool.check_rules(rules) != ""


def test_dashboard_can_be_imported() -> None:
    """What Grafana 9 and 10 ask for: a schema they know, unique ids, panels that don't overlap and a
    data source to choose."""
    found = dashboard()
    assert found["schemaVersion"] in range(36, 40) and found["title"] and found["id"] is None
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert "maildrain_build_info" in variables["instance"]["definition"]
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: List[Any] = []
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries") and panel["description"]
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24 and not cells & set(taken), panel["title"]
        taken += cells
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert "$instance" in target["expr"] or "$instance" in panel["title"]


# The manual


def test_manual_has_each_metric_and_no_other(exported: str) -> None:
    section = MAN.read_text().split(".Ss Metrics")[1].split(".Ss ")[0]
    documented = set()
    for line in re.findall(r"^\.It Ic (.*)$", section, re.MULTILINE):
        documented |= set(re.findall(r"[a-z_]{4,}", re.sub(r" Ns .*", "", line)))
    assert {f"maildrain_{name}" for name in documented} == metrics.names(exported)


def test_manual_has_the_labels(exported: str) -> None:
    section = MAN.read_text().split(".Ss Metrics")[1].split(".Ss ")[0]
    documented = dict(re.findall(r"^\.It Ic (\w+) Ns Brq Ns Li (\w+)$", section, re.MULTILINE))
    assert documented == dict(re.findall(r"^maildrain_(\w+)\{(\w+)=", exported, re.MULTILINE))
