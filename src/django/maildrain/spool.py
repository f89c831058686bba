"""A spool as Python sees it: what is in it, by state, and the few changes that a web user may make.

Counts, states and ages come from the names alone, in one pass over the folders; no file is opened
for them. What is no regular file, such as a symbolic link, is neither followed nor shown. Each
change is one rename or one removal, of a name that was just read: if the sender has taken the
message up in between, the name is gone, and nothing happens.
"""

from __future__ import annotations

import contextlib
import grp
import heapq
import os
import pwd
import re
import shlex
import stat
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from django.utils.translation import gettext as _

from . import entry
from .entry import DEFERRED, FAILED, HELD, IN_FLIGHT, SENT, WAITING, Entry

DEFAULT_PATH = "/var/spool/maildrain"
FOLDERS = ("new", "hold", "failed", "cur")  # as a list of messages shows them
SCHEDULED = "scheduled"  # waiting for a time of its own; those are among the waiting
UNSENT = (WAITING, IN_FLIGHT, DEFERRED, HELD, FAILED)

_DUMP = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{1,20}\.log(-[0-9]{1,9})*(,.*)?")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class SpoolError(Exception):
    """What is wrong with a folder or a file, and COMMAND, which mends it or does what was asked."""

    def __init__(self, text: str, command: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.command = command


class Gone(SpoolError):
    """The message is not, or no longer, where it was: most often the sender has it."""


class Denied(SpoolError):
    """This user has not the rights."""


class Record(NamedTuple):
    """A message: where it stands, and its name."""

    folder: str
    entry: Entry
    state: str

    @property
    def id(self) -> str:
        return self.entry.unique

    @property
    def is_claimed(self) -> bool:
        """In the hands of a run, or left so by one that has died."""
        return self.folder == "new" and self.entry.claim is not None

    @property
    def is_dump(self) -> bool:
        """A file of Django's own backend, which is no message."""
        return _DUMP.fullmatch(self.entry.name) is not None

    def states(self, now: float) -> Tuple[str, ...]:
        """Its state, and SCHEDULED where that holds, too."""
        if self.state == WAITING and not self.is_due(now):
            return WAITING, SCHEDULED
        return (self.state,)

    def is_due(self, now: float) -> bool:
        return self.state in (WAITING, DEFERRED) and (self.entry.not_before or 0) <= now


@dataclass
class Tally:
    count: int = 0
    oldest: Optional[int] = None  # seconds since 1970; None: no name tells it

    def add(self, birth: Optional[int]) -> None:
        self.count += 1
        if birth is not None and (self.oldest is None or birth < self.oldest):
            self.oldest = birth


@dataclass
class Survey:
    """How many messages are in which state."""

    now: float
    states: Dict[str, Tally] = field(
        default_factory=lambda: {state: Tally() for state in entry.STATES}
    )
    due: Tally = field(default_factory=Tally)  # of the waiting and the deferred
    due_since: Optional[int] = None  # when the first of them became due
    scheduled: int = 0  # waiting for a time of its own that has not come
    next: Optional[int] = None  # the earliest time in the future

    def counted(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same, each added when it is taken."""
        for record in records:
            self.add(record)
            yield record

    def add(self, record: Record) -> None:
        birth = record.entry.birth
        self.states[record.state].add(birth)
        if record.is_due(self.now):
            self.due.add(birth)
            since = max(birth or 0, record.entry.not_before or 0)
            if since and (self.due_since is None or since < self.due_since):
                self.due_since = since
        elif record.state in (WAITING, DEFERRED):
            self.scheduled += record.state == WAITING
            then = record.entry.not_before
            if then and (self.next is None or then < self.next):
                self.next = then


class Spool:
    """The spool at PATH. Nothing is kept open between two calls."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)

    def folder(self, name: str) -> str:
        return os.path.join(self.path, name)

    # ---- looking ----

    def survey(self, now: Optional[float] = None) -> Survey:
        """Counts everything."""
        return self.look((), 0, now)[0]

    def look(
        self, states: Iterable[str], stop: int, now: Optional[float] = None
    ) -> Tuple[Survey, List[Record]]:
        """Counts everything, and lists the first STOP messages that are in one of STATES, of which
        SCHEDULED may be one: those in new/ in the order in which they are sent, then those on hold,
        then the failed and the sent, the youngest first."""
        survey = Survey(time.time() if now is None else now)
        wanted = frozenset(states)
        listed: List[Record] = []
        for folder in FOLDERS:
            records = survey.counted(self.records(folder, survey.now))
            matching = (r for r in records if not wanted.isdisjoint(r.states(survey.now)))
            listed += _first(folder, matching, stop - len(listed))
            deque(records, maxlen=0)  # what is left is counted too
        return survey, listed

    def records(self, folder: str, now: float) -> Iterator[Record]:
        """The messages in FOLDER, as the disk has them, read lazily."""
        for name in self._names(folder):
            parsed = entry.parse(name)
            if parsed:
                yield Record(folder, parsed, parsed.state(folder, now))

    def find(self, ids: Iterable[str], now: Optional[float] = None) -> List[Record]:
        """The messages with these ids, in that order; those that are not there are left out."""
        now = time.time() if now is None else now
        wanted = list(dict.fromkeys(ids))
        found: Dict[str, Record] = {}
        for folder in FOLDERS:
            missing = tuple(id for id in wanted if id not in found)
            if missing:
                self._find_in(folder, missing, now, found)
        return [found[id] for id in wanted if id in found]

    def read(self, record: Record, most: int) -> Tuple[bytes, os.stat_result]:
        """The first MOST bytes of a message, and what the file is."""
        path = os.path.join(self.folder(record.folder), record.entry.name)
        try:
            with self._open(record.folder) as folder:
                descriptor = os.open(record.entry.name, _OPEN_FILE, dir_fd=folder)
        except FileNotFoundError:
            text = _("%(path)s is gone: it has just changed its state.") % {"path": path}
            raise Gone(text) from None
        except PermissionError:
            raise self._unreadable(path) from None
        except OSError as error:
            raise _unopened(path, error) from error
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                text = _("%(path)s is no regular file, or has several hard links.")
                raise SpoolError(text % {"path": path})
            return file.read(most), status

    def _names(self, folder: str) -> Iterator[str]:
        """Those of the regular files. hold/ is there once something was put on hold."""
        try:
            with self._open(folder) as descriptor, os.scandir(descriptor) as entries:
                for item in entries:
                    if item.is_file(follow_symlinks=False):
                        yield item.name
        except FileNotFoundError:
            if folder != "hold":
                raise self._missing(folder) from None

    @contextlib.contextmanager
    def _open(self, folder: str) -> Iterator[int]:
        path = self.folder(folder)
        try:
            descriptor = os.open(path, _OPEN_FOLDER)
        except PermissionError:
            raise self._unreachable(path) from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unopened(path, error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _find_in(
        self, folder: str, ids: Tuple[str, ...], now: float, found: Dict[str, Record]
    ) -> None:
        for name in self._names(folder):
            if name.startswith(ids):
                parsed = entry.parse(name)
                if parsed and parsed.unique in ids:
                    record = Record(folder, parsed, parsed.state(folder, now))
                    found.setdefault(record.id, record)

    # ---- changing ----

    def retry(self, record: Record) -> None:
        """Makes a message due now; one that has failed is queued again, and starts afresh."""
        self._change(record, "retry", "new", record.entry.due_at_once())

    def hold(self, record: Record) -> None:
        """Moves a message to hold/, where no run sees it."""
        self._change(record, "hold", "hold", record.entry.name)

    def release(self, record: Record) -> None:
        """Moves it back, with all that its name says."""
        self._change(record, "release", "new", record.entry.name)

    def cancel(self, record: Record) -> None:
        """Removes a message that is not sent."""
        self._change(record, "cancel", None, record.entry.name)

    def may(self, action: str, record: Record) -> bool:
        """Whether ACTION makes sense for a message in this state; the rights are another matter."""
        if record.is_claimed or record.is_dump or record.state not in _SENSE[action]:
            return False
        return action != "retry" or record.state == FAILED or record.entry.not_before is not None

    def denial(self, action: str, record: Record) -> Optional[Denied]:
        """What this user has no right to do himself. What is no longer there is not denied."""
        folder = self.folder(record.folder)
        try:
            if _may_move(folder, record.entry.name):
                return None
        except FileNotFoundError:
            return None
        except OSError:
            pass
        return self._denied(action, record)

    def command(self, action: str, record: Record) -> str:
        """What the sender's user, or root, types to do the same."""
        source = os.path.join(self.folder(record.folder), record.entry.name)
        if action == "retry" and self.path == DEFAULT_PATH and record.folder != "hold":
            return f"sudo maildrain retry {shlex.quote(record.id)}"
        target = self.folder("hold" if action == "hold" else "new")
        words = ["sudo", "-u", self._owner()]
        if action == "cancel":
            return shlex.join([*words, "rm", source])
        name = record.entry.due_at_once() if action == "retry" else record.entry.name
        move = shlex.join([*words, "mv", "-n", source, os.path.join(target, name)])
        if action == "hold" and not os.path.isdir(target):
            return shlex.join([*words, "mkdir", "-m", "3770", target]) + " && " + move
        return move

    def _change(self, record: Record, action: str, target: Optional[str], name: str) -> None:
        """Renames RECORD to NAME in the folder TARGET; None: removes it."""
        if not self.may(action, record):
            text = _("%(id)s is in a state, or in hands, that does not allow this.")
            raise SpoolError(text % {"id": record.id})
        if target == "hold":
            self._make_hold()
        with contextlib.ExitStack() as stack:
            try:
                source = stack.enter_context(self._open(record.folder))
                if target is None:
                    os.unlink(record.entry.name, dir_fd=source)
                    os.fsync(source)
                    return
                to = stack.enter_context(self._open(target))
                self._rename(source, record.entry.name, to, name)
            except FileNotFoundError:
                text = _(
                    "%(id)s is no longer as it was: a run of the sender has just taken it up, or "
                    "somebody else has changed it. Nothing was done."
                )
                raise Gone(text % {"id": record.id}) from None
            except PermissionError:
                raise self._denied(action, record) from None
            except OSError as error:
                text = _("%(id)s can't be changed: %(reason)s.")
                raise SpoolError(text % {"id": record.id, "reason": error.strerror}) from error

    def _rename(self, source: int, old: str, target: int, new: str) -> None:
        """The sender never overwrites a file, and nor does this."""
        with contextlib.suppress(FileNotFoundError):
            os.stat(new, dir_fd=target, follow_symlinks=False)
            raise SpoolError(_("A file %(name)s is there already.") % {"name": new})
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
        os.fsync(target)
        os.fsync(source)

    def _make_hold(self) -> None:
        """As new/ is: the group adds files, and each owner moves his own."""
        path = self.folder("hold")
        try:
            os.mkdir(path, 0o700)
            os.chmod(path, 0o3770)
        except FileExistsError:
            pass
        except PermissionError:
            text = _("%(spool)s can't be written to, so there can be no folder %(path)s.")
            raise Denied(
                text % {"spool": self.path, "path": path},
                shlex.join(["sudo", "-u", self._owner(), "mkdir", "-m", "3770", path]),
            ) from None

    # ---- what is wrong, and what helps ----

    def _owner(self) -> str:
        with contextlib.suppress(OSError, KeyError):
            return pwd.getpwuid(os.stat(self.folder("new")).st_uid).pw_name
        return "maildrain"

    def _group(self, path: str) -> Tuple[str, bool]:
        """The group of PATH or of what it is in, and whether this process is in it."""
        for where in (path, self.path):
            with contextlib.suppress(OSError, KeyError):
                number = os.stat(where).st_gid
                return grp.getgrgid(number).gr_name, number in {os.getegid(), *os.getgroups()}
        return "maildrain", False

    def _missing(self, folder: str) -> SpoolError:
        what = self.folder(folder) if os.path.isdir(self.path) else self.path
        return SpoolError(_("There is no folder %(path)s.") % {"path": what}, self._init())

    def _init(self) -> str:
        return shlex.join(["sudo", "maildrain", "init", self.path])

    def _unreachable(self, path: str) -> SpoolError:
        """For a folder that can't be read."""
        group, is_member = self._group(path)
        names = {"path": path, "group": group, "user": _user()}
        if is_member:
            text = _("The group %(group)s has no right to read %(path)s.")
            return Denied(text % names, self._init())
        text = _(
            "%(path)s can't be read by the user %(user)s, who is not in the group %(group)s, or "
            "has joined it since the site was started: restart the site then."
        )
        return Denied(text % names, shlex.join(["sudo", "usermod", "-aG", group, names["user"]]))

    def _unreadable(self, path: str) -> SpoolError:
        text = _("%(path)s can't be read by the user %(user)s: the group has no right to.")
        return Denied(
            text % {"path": path, "user": _user()},
            shlex.join(["sudo", "-u", self._owner(), "chmod", "g+r", path]),
        )

    def _denied(self, action: str, record: Record) -> Denied:
        text = _(
            "The user %(user)s has no right to move %(name)s out of %(folder)s: that is for the "
            "owner of the file or of the folder."
        )
        folder = self.folder(record.folder)
        names = {"user": _user(), "name": record.entry.name, "folder": folder}
        return Denied(text % names, self.command(action, record))


_SENSE = {
    "retry": (WAITING, DEFERRED, FAILED),
    "hold": (WAITING, DEFERRED),
    "release": (HELD,),
    "cancel": (WAITING, DEFERRED, HELD, FAILED),
}


def _first(folder: str, records: Iterator[Record], stop: int) -> List[Record]:
    """In the order of a listing, in memory for STOP of them."""
    if folder == "new":
        return heapq.nsmallest(stop, records, key=_service)
    if folder == "hold":
        return heapq.nsmallest(stop, records, key=lambda record: record.id)
    return heapq.nlargest(stop, records, key=lambda record: record.id)


def _service(record: Record) -> Tuple[int, bool, str]:
    """The order of service: priority, then fresh before retried, then age."""
    return record.entry.priority, record.entry.attempts > 0, record.id


def _unopened(path: str, error: OSError) -> SpoolError:
    text = _("%(path)s can't be opened: %(reason)s.")
    return SpoolError(text % {"path": path, "reason": error.strerror})


def _may_move(folder: str, name: str) -> bool:
    """Whether this process may rename or remove a file: a sticky folder asks for an owner."""
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return False
    status = os.stat(folder)
    if not status.st_mode & stat.S_ISVTX or os.geteuid() in (0, status.st_uid):
        return True
    return os.geteuid() == os.lstat(os.path.join(folder, name)).st_uid


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid())
