"""What maildrain-migrate(7) says: its settings and code are run, its names are looked up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

import maildrain
import pytest
from django.core.mail import EmailMessage
from django.core.management import get_commands, load_command_class
from django.test.utils import override_settings
from django.utils.module_loading import import_string
from lab import repo
from maildrain import options
from maildrain.testing import temporary_spool
from test_checks import BACKEND, site

PAGE = (repo.ROOT / "src" / "maildrain-migrate.7").read_text()
SOURCES = "".join(path.read_text() for path in sorted((repo.ROOT / "src").glob("conf*.c")))

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"welcome.txt": "Dear {{ name }}", "welcome.html": "<p>{{ name }}</p>"},
                )
            ]
        },
    }
]


class Block(NamedTuple):
    title: str  # "After: DJANGO-MAILER", by what stands before it and its section
    text: str


def blocks() -> Iterator[Block]:
    for section, text in sections().items():
        for before, block in re.findall(
            r"([^\n]*)\n\.Bd -literal -offset indent\n(.*?)\n\.Ed", text, re.DOTALL
        ):
            yield Block(f"{section}: {before}", block)


def sections() -> Dict[str, str]:
    parts = re.split(r"^\.Sh (.*)$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def ids(found: List[Block]) -> List[str]:
    return [block.title for block in found]


SETTINGS = [block for block in blocks() if re.match(r"[A-Z_]+ (=|\+=) ", block.text)]
AFTER = [block for block in SETTINGS if "maildrain" in block.text]
COMMANDS = [block for block in blocks() if re.search(r"^manage\.py ", block.text)]
CODE = [block for block in blocks() if re.match(r"from |import ", block.text)]
CRON = [block for block in blocks() if block.text.startswith("*")]


def test_each_block_is_of_some_kind() -> None:
    kinds = [SETTINGS, COMMANDS, CODE, CRON]
    assert [len(kind) for kind in kinds] == [10, 2, 3, 1]
    assert sum(map(len, kinds)) == len(list(blocks())) == PAGE.count(".Bd ")
    assert len(AFTER) == 6


def read(block: Block) -> Dict[str, Any]:
    """The settings that the block makes."""
    found: Dict[str, Any] = {"INSTALLED_APPS": []}
    exec(block.text, found)
    del found["__builtins__"]
    return found


@pytest.mark.parametrize("block", SETTINGS, ids=ids(SETTINGS))
def test_settings_are_python(block: Block) -> None:
    assert read(block)["INSTALLED_APPS"] or block in AFTER


@pytest.mark.parametrize("block", AFTER, ids=ids(AFTER))
def test_mail_goes_to_the_spool_by_these(block: Block, spool_path: Path) -> None:
    found = read(block)
    assert found["EMAIL_FILE_PATH"] == "/var/spool/maildrain"
    backends = {
        found.get("EMAIL_BACKEND"),
        found.get("CELERY_EMAIL_BACKEND"),
        found.get("POST_OFFICE", {}).get("BACKENDS", {}).get("default"),
    }
    [backend] = backends - {None}
    assert backend == BACKEND
    assert found["INSTALLED_APPS"] in ([], ["maildrain"])
    with site(spool_path, backend), override_settings(MAILDRAIN=found.get("MAILDRAIN", {})):
        assert EmailMessage("Hi", "Text", None, ["a@example.net"]).send() == 1
    assert len(list((spool_path / "new").iterdir())) == 1


@pytest.mark.parametrize("block", CODE, ids=ids(CODE))
def test_code(block: Block) -> None:
    with temporary_spool() as box, override_settings(TEMPLATES=TEMPLATES):
        exec(block.text, {})
        [message] = box.outbox()
    assert message.body and message.envelope_to
    assert message.priority == (1 if "high" in block.text else 5)
    assert (message.not_before is not None) == ("not_before" in block.text)
    assert (message.expires is not None) == ("expires" in block.text)
    assert len(message.alternatives) == block.text.count("attach_alternative")


def test_the_options_of_the_import() -> None:
    command = load_command_class("maildrain", "maildrain_import")
    common = load_command_class("maildrain", "maildrain_status")
    flags = [set(each.create_parser("", "")._option_string_actions) for each in (command, common)]
    described = re.findall(r"^\.It Fl (-\S+)", sections()["DESCRIPTION"], re.MULTILINE)
    assert {f"-{name}" for name in described} == flags[0] - flags[1]
    [block] = [block for block in COMMANDS if "maildrain_import" in block.text]
    for line in block.text.splitlines():
        manage, name, *words = line.split()
        assert (manage, get_commands()[name]) == ("manage.py", "maildrain")
        command.create_parser(manage, name).parse_args(words)


# ---- the names on the right of the tables, and in the text ----


def cells() -> Iterator[str]:
    for line in re.findall(r"^\.It (?!Sy|Fl|\.)(.* Ta .*)$", PAGE, re.MULTILINE):
        yield line.split(" Ta ", 1)[1]


MACROS = r"\b(Ic|Cm|Li|Fn|Pa|Ql|No|Xr)\b"


def named(macro: str) -> List[str]:
    """What stands behind that macro, in the tables."""
    found = []
    for cell in cells():
        parts = re.split(MACROS, cell)
        found += [t.strip(" :,") for m, t in zip(parts[1::2], parts[2::2]) if m == macro]
    return sorted({word for text in found for word in text.split(" , ")})


def test_options_of_the_configuration() -> None:
    names = named("Ic")
    assert {"retry", "keep_sent", "rate", "connections", "redirect_to"} <= set(names)
    assert [name for name in names if f'("{name}"' not in SOURCES] == []


def test_options_of_a_message() -> None:
    names = {name.lower() for name in named("Cm")}
    assert names == {"not_before", "expires", "relay", "priority"}
    assert names <= set(options.SETTINGS.values())
    headers = set(re.findall(r"X-Maildrain-[A-Za-z-]+", re.sub(r"^\.Bl.*", "", PAGE, flags=re.M)))
    assert headers and {header.lower() for header in headers} <= set(options.HEADERS)


def test_python_names() -> None:
    ours = set(re.findall(r"\bmaildrain(?:\.[a-z_]+)*\.[A-Z]?[A-Za-z_]+", PAGE))
    ours -= {"maildrain.conf", "maildrain.timer"}
    assert ours == {
        "maildrain.filebased.EmailBackend",
        "maildrain.bulk.EmailBackend",
        "maildrain.signals.message_queued",
        "maildrain.send",
    }
    for name in ours:
        assert import_string(name)
    assert callable(maildrain.send)


def test_priorities() -> None:
    rows = re.findall(r"^\.It .*low.* Ta Li (.*)$", PAGE, re.MULTILINE)
    assert rows == ["low , normal , high , 0", "high , normal , low"]
    made = [options.fields({"priority": word}) for word in rows[0].split(" , ")]
    assert made == [",P=9", "", ",P=1", ",P=0"]


@pytest.mark.skipif(not repo.program().exists(), reason="needs the program")
def test_commands_of_the_program() -> None:
    said = subprocess.run([repo.program(), "--help"], stdout=subprocess.PIPE, text=True).stdout
    known = set(re.findall(r"^  ([a-z]+) ", said, re.MULTILINE))
    used = set(re.findall(r"Ql maildrain (\w+)", PAGE))
    assert {"run", "purge", "retry", "show", "verify"} == used <= known


def test_the_timer() -> None:
    assert set(named("Pa")) == {"maildrain.timer"}
    assert (repo.ROOT / "systemd" / "maildrain.timer").exists()
