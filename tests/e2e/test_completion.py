"""Completion in the shells themselves, on a terminal of their own."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from lab import repo
from lab.spool import Spool, unique_of

COMPLETION = repo.ROOT / "etc" / "completion"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
TO = ("s@example.com", ["a@example.net"])
LETTER = b"From: s@example.com\nSubject: x\n\ntext\n"

# Control-X I puts all completions into the line, Control-X P writes the line into $OUT.
BASHRC = """
PS1='$ '
. {bash_completion}
bind '"\\C-xi": insert-completions'
show() {{ printf '%s\\n' "$READLINE_LINE" >"$OUT.new" && mv "$OUT.new" "$OUT"; }}
bind -x '"\\C-xp": show'
"""
ZSHRC = """
PS1='$ '
fpath=({completion} $fpath)
autoload -U compinit
compinit -u -d "$HOME/zcompdump"
zle -C all-matches complete-word _generic
zstyle ':completion:all-matches:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert yes
zstyle ':completion:all-matches:*' avoid-completer _expand
show() {{ print -r -- "$BUFFER" >"$OUT.new" && command mv "$OUT.new" "$OUT"; }}
zle -N show
bindkey '^Xi' all-matches
bindkey '^Xp' show
"""


class Shell:
    """An interactive shell at work in DIRECTORY, which finds the program under test in its PATH."""

    def __init__(self, name: str, directory: Path) -> None:
        self._out = directory / "line"
        bin_dir = directory / "bin"
        bin_dir.mkdir()
        (bin_dir / "maildrain").symlink_to(repo.program())
        environment = {
            "PATH": f"{bin_dir}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(directory),
            "OUT": str(self._out), "TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null",
        }  # fmt: skip
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execve(f"/bin/{name}", self._prepare(name, directory), environment)
        self.said = b""

    def _prepare(self, name: str, directory: Path) -> List[str]:
        if name == "zsh":
            text = ZSHRC.format(completion=COMPLETION)
            (directory / ".zshrc").write_text(text)
            return ["zsh", "-i"]
        # Where bash-completion looks by itself, for a user's own.
        place = directory / ".local/share/bash-completion/completions"
        place.mkdir(parents=True)
        (place / "maildrain").symlink_to(COMPLETION / "maildrain.bash")
        rc = directory / "bashrc"
        rc.write_text(BASHRC.format(bash_completion=BASH_COMPLETION))
        return ["bash", "--noprofile", "--rcfile", str(rc), "-i"]

    def complete(self, line: str) -> List[str]:
        """The words that come in the place of the last, unfinished one of LINE."""
        self._out.unlink(missing_ok=True)
        os.write(self._terminal, line.encode() + b"\x18i\x18p")
        end = time.monotonic() + 20
        while not self._out.exists():
            if time.monotonic() > end:
                raise AssertionError(f"no answer; on the terminal: {self.said!r}")
            self._listen()
        os.write(self._terminal, b"\x15")  # Control-U
        self._listen()
        shown = self._out.read_text().rstrip("\n")
        start = line.rpartition(" ")[0] + " "
        assert shown.startswith(start), shown
        return shown[len(start) :].split()

    def _listen(self) -> None:
        """A terminal that nobody reads from blocks its shell."""
        while select.select([self._terminal], [], [], 0.02)[0]:
            try:
                self.said += os.read(self._terminal, 4096)
            except OSError:
                return

    def end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    name: str = request.param
    if not shutil.which(name):
        pytest.skip(f"{name} is missing: install it")
    if name == "bash" and not BASH_COMPLETION.exists():
        pytest.skip("bash-completion is missing: install it")
    shell = Shell(name, tmp_path)
    yield shell
    shell.end()


def say_help(*command: str) -> str:
    return subprocess.run(
        [repo.program(), *command, "--help"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def commands() -> List[str]:
    return re.findall(r"^  ([a-z]+) +[A-Z]", say_help(), re.M)


def options(*command: str) -> List[str]:
    """All that --help has in the column of options, with the two that each command has."""
    lines = re.findall(r"^ +(-.*?)(?:  |$)", say_help(*command), re.M)
    found = {word for line in lines for word in re.findall(r"--[a-z-]+", line)}
    return sorted(found | {"--config", "--help"})


def commands_with(word: str) -> List[str]:
    """Those whose usage names WORD as what they take."""
    return [name for name in commands()
            if re.search(rf"\b{word}\b", say_help(name).splitlines()[0])]  # fmt: skip


def test_commands(shell: Shell) -> None:
    assert len(commands()) >= 5
    assert sorted(shell.complete("maildrain ")) == sorted(commands())
    assert shell.complete("maildrain ver") == ["verify"]
    assert shell.complete("maildrain -c /dev/null ver") == ["verify"]


def test_options_of_the_program(shell: Shell) -> None:
    assert set(options()) == {"--config", "--help", "--version"}
    assert sorted(shell.complete("maildrain --")) == options()


def test_options_of_each_command(shell: Shell) -> None:
    """Whatever a command is given: the shells ask the program."""
    for command in commands():
        assert sorted(shell.complete(f"maildrain {command} --")) == options(command), command
    assert shell.complete("maildrain run --d") == ["--dry-run"]


def test_files_for_the_config(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.conf").touch()
    for start in ("maildrain -c", "maildrain --config", "maildrain run -c"):
        assert shell.complete(f"{start} mi") == ["mine.conf"], start


def test_folders_for_init(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "plain").touch()
    assert [word.rstrip("/") for word in shell.complete("maildrain init pl")] == ["place"]


def test_ids(shell: Shell, make_spool: Callable[..., Spool]) -> None:
    spool = make_spool()
    uniques = [unique_of(spool.drop(LETTER, f"{n}7.M1P1Q1.h", envelope=TO)) for n in (1, 2)]
    for command in commands_with("ID"):
        start = f"maildrain -c {spool.config} {command}"
        assert sorted(shell.complete(f"{start} ")) == uniques, command
        assert shell.complete(f"{start} 2") == [uniques[1]]


def test_ids_are_never_run(shell: Shell, make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """Whoever may drop mail chooses the ids, and root completes them: neither the shell that offers
    one nor the line that it stands in may find a command there."""
    spool = make_spool()
    hostile = ("$(touch${IFS}run)", "`touch${IFS}run`", "7;touch${IFS}run", "$IFS", "~", "a b'\"")
    for name in (*hostile, "17.M1P1Q1.h"):
        spool.drop(LETTER, name, envelope=TO)
    for command in commands_with("ID"):
        words = shell.complete(f"maildrain -c {spool.config} {command} ")
        assert "17.M1P1Q1.h" in words, command
        plain = re.sub(r"\\.", "", " ".join(words))
        assert not re.search(r"[$`;~'\"()]", plain), words
    assert not (tmp_path / "run").exists()


def test_states(shell: Shell) -> None:
    """The one list that stands in the files of the shells: as the help of the program has it."""
    for command in commands_with("STATE"):
        told = re.findall(r"(?m)^  STATE .*?that are (.*)$", say_help(command))[0]
        assert sorted(shell.complete(f"maildrain {command} ")) == sorted(
            re.findall(r"[a-z-]+", told.replace(" or ", " "))
        )


def test_no_word_of_a_fault_on_the_terminal(shell: Shell) -> None:
    for command in commands_with("ID"):
        assert shell.complete(f"maildrain -c /nowhere {command} ") == []
    assert shell.complete("maildrain nothing-of-that-kind --") in ([], ["--config", "--help"])
    assert b"maildrain:" not in shell.said and b"No such" not in shell.said
