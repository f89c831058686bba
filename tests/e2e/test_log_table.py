"""The manual's table of the log: every event with its priority and its fields, and no other."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Set

from lab import repo

MAN = (repo.ROOT / "src" / "maildrain.8").read_text()
SOURCES = sorted((repo.ROOT / "src").glob("*.c"))
PRIORITIES = {"ALERT": 1, "ERROR": 3, "WARNING": 4, "NOTICE": 5, "INFO": 6}
FIELD = re.compile(r'\blog_(?:text|text_n|number|tenths)\(\s*[\w>.&-]+,\s*"([a-z_]+)"')
# Only what was tried is logged, so the first of the states has a name that is never said.
NEVER_SAID = {"untried"}


class Event(NamedTuple):
    priorities: Set[int]
    fields: Set[str]


def functions() -> Iterator[str]:
    """The text of each function of the program."""
    for source in SOURCES:
        if source.name != "log.c":
            yield from re.findall(r"^[a-z][^\n;]*\([^;]*?\)\n\{.*?^\}", source.read_text(), re.M | re.S)


def table_of(name: str) -> str:
    """The initializer of the array NAME."""
    for source in SOURCES:
        found = re.search(rf"\b{name}\[\] = \{{(.*?)\}};", source.read_text(), re.S)
        if found:
            return found[1]
    raise AssertionError(name)


def spelt_out(argument: str) -> str:
    """ARGUMENT of a call, with what it looks up in an array in its place."""
    array = re.match(r"(\w+)\[", argument)
    return table_of(array[1]) if array else argument


def name_of(function: str) -> str:
    found = re.search(r"(\w+)\(", function)
    assert found
    return found[1]


def calls(function: str, name: str) -> bool:
    return name_of(function) != name and bool(re.search(rf"\b{name}\(", function))


def fields_of(function: str) -> Set[str]:
    """Those of the line that FUNCTION begins: its own, those of functions that it has add to the
    line, and when it leaves that open, those of its callers."""
    fields = set(FIELD.findall(function))
    for other in functions():
        adds = FIELD.search(other) and "log_begin(" not in other and calls(function, name_of(other))
        goes_on = "log_end(" not in function and calls(other, name_of(function))
        if adds or goes_on:
            fields |= set(FIELD.findall(other))
    return fields


def add(events: Dict[str, Event], level: str, event: str, fields: Set[str]) -> None:
    priorities = {PRIORITIES[name] for name in re.findall(r"LOG_LEVEL_(\w+)", spelt_out(level))}
    assert priorities, level
    names = set(re.findall(r'"([a-z-]+)"', spelt_out(event))) - NEVER_SAID
    assert names, event
    for name in names:
        known = events.setdefault(name, Event(set(), set()))
        known.priorities.update(priorities)
        known.fields.update(fields)


def logged() -> Dict[str, Event]:
    """What the source can say."""
    events: Dict[str, Event] = {}
    for text in functions():
        for level, event in re.findall(r"\blog_begin\([\w>.&-]+, (.*?), ([^;]*)\);", text, re.S):
            add(events, level, event, fields_of(text))
        for level, event in re.findall(r'\blog_say\(\s*[\w>.&-]+,\s*(.*?),\s*("[a-z-]+"),', text):
            add(events, level, event, {"text"})
    return events


def documented() -> Dict[str, Event]:
    """What the manual says it can. "The same" is what stands in the row above all such."""
    events: Dict[str, Event] = {}
    rows = re.findall(r"^\.It Ic (\S+) Ta (\d) Ta (.*)$", MAN, re.MULTILINE)
    same: Set[str] = set()
    for name, priority, cell in rows:
        fields = set(re.findall(r"[a-z_]+", re.sub(r"\b(No|Ic|or|and|the same)\b", "", cell)))
        if "the same" in cell:
            fields |= same
        else:
            same = same or fields
        known = events.setdefault(name, Event(set(), set()))
        known.priorities.add(int(priority))
        known.fields.update(fields)
    return events


def test_the_source_is_understood() -> None:
    found = logged()
    calls = sum(len(re.findall(r"\blog_(?:begin|say)\(", text)) for text in functions())
    understood = sum(
        len(re.findall(r'\blog_begin\([\w>.&-]+, .*?, [^;]*\);', text, re.S))
        + len(re.findall(r'\blog_say\(\s*[\w>.&-]+,\s*.*?,\s*"[a-z-]+",', text))
        for text in functions()
    )
    assert calls == understood > 15
    assert found["relay-misconfigured"].fields == {"relay", "url", "reply", "text"}
    assert {"id", "to", "relay", "attempt", "duplicate"} <= found["deferred"].fields


def test_table_has_every_event_and_no_other() -> None:
    assert set(documented()) == set(logged())


def test_table_has_every_field_and_no_other() -> None:
    said, written = logged(), documented()
    # The function that tells of recipients serves three events; these two are of the others.
    said["sent"].fields.difference_update({"status", "duplicate"})
    assert {name: event.fields for name, event in written.items()} == {
        name: event.fields for name, event in said.items()
    }


def test_table_has_the_priorities() -> None:
    said, written = logged(), documented()
    for name in ("sent", "deferred", "failed"):
        level = {"sent": 6, "deferred": 5, "failed": 4}[name]
        assert written[name].priorities == {level} <= said[name].priorities
    for name in set(said) - {"sent", "deferred", "failed"}:
        assert written[name].priorities <= said[name].priorities, name


def test_each_event_and_field_is_explained() -> None:
    section = re.split(r"^\.S[sh] ", MAN.split(".Ss Log")[1], flags=re.MULTILINE)[0]
    events, fields = section.split("The fields:")
    explained: List[str] = re.findall(r"^\.It Ic (.*)$", events.split(".El\n", 1)[1], re.MULTILINE)
    assert set(logged()) <= set(re.findall(r"[a-z-]+", " ".join(explained)))
    explained = re.findall(r"^\.It Ic (.*)$", fields, re.MULTILINE)
    wanted = {field for event in logged().values() for field in event.fields}
    assert wanted == set(re.findall(r"[a-z_]+", " ".join(explained)))
