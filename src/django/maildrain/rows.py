"""What the admin page shows of a message, and what can be done with it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from django.conf import settings
from django.utils import timezone
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext, gettext_lazy, ngettext

from . import letter
from .entry import DEFERRED, FAILED, HELD, IN_FLIGHT, PRIORITY_DEFAULT, SENT, WAITING
from .letter import Letter, Recipient
from .spool import SCHEDULED, UNSENT, Record, Spool, SpoolError, Survey

Text = Union[str, Any]  # a lazy translation is one, too

STATE_NAMES: Dict[str, Text] = {
    WAITING: gettext_lazy("waiting"),
    SCHEDULED: gettext_lazy("scheduled"),
    IN_FLIGHT: gettext_lazy("in flight"),
    DEFERRED: gettext_lazy("deferred"),
    HELD: gettext_lazy("on hold"),
    FAILED: gettext_lazy("failed"),
    SENT: gettext_lazy("sent"),
}

# What the codes mean that maildrain gives itself, as `maildrain show` says it.
REASONS: Dict[str, Text] = {
    "2.0.0": gettext_lazy("sent, and cur/ could not take it yet; the next run moves it"),
    "4.0.0": gettext_lazy("deferred by the relay, with a reply that has no such code"),
    "4.3.0": gettext_lazy("the file changed while it was sent"),
    "4.3.1": gettext_lazy("failed, and failed/ could not take it; see the log"),
    "4.4.2": gettext_lazy("the connection was lost in the midst of the message"),
    "5.0.0": gettext_lazy("refused by the relay, with a reply that has no such code"),
    "5.1.3": gettext_lazy("a recipient's address can't be used, or there is no recipient"),
    "5.1.7": gettext_lazy("the sender's address can't be used, or there is no sender"),
    "5.3.0": gettext_lazy(
        "some recipients are served, and the disk could not take who; see the log"
    ),
    "5.3.4": gettext_lazy("larger than the relay takes"),
    "5.4.7": gettext_lazy("given up after the last attempt, or expired"),
    "5.5.3": gettext_lazy("more than 10,000 recipients"),
    "5.6.0": gettext_lazy("no message, or its envelope lines are damaged"),
    "5.6.3": gettext_lazy("needs 8BITMIME, and the relay has it not"),
    "5.6.7": gettext_lazy("needs SMTPUTF8, and the relay has it not"),
    "5.6.9": gettext_lazy("needs SMTPUTF8 for its header, and the relay has it not"),
}


class Action(NamedTuple):
    """Something that can be done with messages."""

    name: str
    label: Text
    title: Text
    meaning: Text
    past: str
    do: Callable[[Spool, Record], None]
    said: Callable[[int], str]
    removes: bool = False


def _said_retry(count: int) -> str:
    return str(ngettext("%d message is due now.", "%d messages are due now.", count) % count)


def _said_hold(count: int) -> str:
    return str(ngettext("%d message is on hold.", "%d messages are on hold.", count) % count)


def _said_release(count: int) -> str:
    return str(ngettext("%d message is released.", "%d messages are released.", count) % count)


def _said_cancel(count: int) -> str:
    return str(ngettext("%d message is cancelled.", "%d messages are cancelled.", count) % count)


ACTIONS: Dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            "retry",
            gettext_lazy("Retry now"),
            gettext_lazy("Retry now?"),
            gettext_lazy(
                "The next run, within a minute, tries again. What has failed starts afresh, for "
                "the recipients that do not have it."
            ),
            "Made due",
            Spool.retry,
            _said_retry,
        ),
        Action(
            "hold",
            gettext_lazy("Hold"),
            gettext_lazy("Put on hold?"),
            gettext_lazy("Moves to the folder hold/. Nothing there is sent until it is released."),
            "Put on hold",
            Spool.hold,
            _said_hold,
        ),
        Action(
            "release",
            gettext_lazy("Release"),
            gettext_lazy("Release?"),
            gettext_lazy("Moves back to the queue, due at the time that it was due before."),
            "Released",
            Spool.release,
            _said_release,
        ),
        Action(
            "cancel",
            gettext_lazy("Cancel"),
            gettext_lazy("Cancel?"),
            gettext_lazy("Removes the file: it is never sent, and can’t be had back."),
            "Cancelled",
            Spool.cancel,
            _said_cancel,
            removes=True,
        ),
    )
}


class Count(NamedTuple):
    """Of the summary: how many messages are in a state, and since when."""

    key: str
    name: Text
    number: int
    age: str  # of the oldest; "" when no name tells it


@dataclass
class Row:
    """A message, and what is in its file once that is read."""

    record: Record
    now: float
    letter: Optional[Letter] = None
    error: Optional[SpoolError] = None
    url: str = ""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def state(self) -> str:
        """With SCHEDULED, as a class and a name for people."""
        return self.record.states(self.now)[-1]

    @property
    def state_name(self) -> Text:
        return STATE_NAMES[self.state]

    @property
    def subject(self) -> str:
        return (self.letter.subject if self.letter else "") or str(gettext("(no subject)"))

    @property
    def recipients(self) -> List[Recipient]:
        return self.letter.envelope.recipients if self.letter else []

    @property
    def first_recipients(self) -> str:
        return ", ".join(recipient.address for recipient in self.recipients[:2])

    @property
    def more_recipients(self) -> int:
        return max(0, len(self.recipients) - 2)

    @property
    def status(self) -> str:
        return self.record.entry.status

    @property
    def reason(self) -> Text:
        return REASONS.get(self.status, "")

    @property
    def attempts(self) -> int:
        return self.record.entry.attempts

    @property
    def priority(self) -> Optional[int]:
        priority = self.record.entry.priority
        return None if priority == PRIORITY_DEFAULT else priority

    @property
    def made(self) -> Optional[datetime.datetime]:
        return moment(self.record.entry.birth)

    @property
    def age(self) -> str:
        return age(self.record.entry.birth, self.now)

    @property
    def is_due(self) -> bool:
        return self.record.is_due(self.now)

    @property
    def next(self) -> Optional[datetime.datetime]:
        """The next attempt, where it is in the future."""
        if self.record.state in (WAITING, DEFERRED) and not self.is_due:
            return moment(self.record.entry.not_before)
        return None

    @property
    def wait(self) -> str:
        return str(timeuntil(self.next, moment(int(self.now)), depth=1)) if self.next else ""

    @property
    def expires(self) -> Optional[datetime.datetime]:
        return moment(self.record.entry.expires)

    @property
    def claim_ends(self) -> Optional[datetime.datetime]:
        return moment(self.record.entry.not_before) if self.record.is_claimed else None

    @property
    def words(self) -> List[Recipient]:
        """The recipients, each with the state that the file or the message as a whole gives it."""
        return [
            Recipient(one.address, STATE_NAMES[one.state or self.state], one.words)
            for one in self.recipients
        ]

    @property
    def has_all_words(self) -> bool:
        """Else they are in the log."""
        return not self.attempts or all(one.words for one in self.recipients)

    def mentions(self, text: str) -> bool:
        return text in self.id or bool(self.letter and self.letter.mentions(text))


def read_row(spool: Spool, record: Record, now: float) -> Row:
    """With the head of its file; what can't be read says why."""
    row = Row(record, now)
    try:
        row.letter = letter.read_head(spool.read(record, letter.HEAD_MAX)[0])
    except SpoolError as error:
        row.error = error
    return row


def summary(survey: Survey) -> List[Count]:
    """What the top of the page says."""
    unsent = [survey.states[state] for state in UNSENT]
    births = [tally.oldest for tally in unsent if tally.oldest is not None]
    counts = [
        Count(
            "unsent",
            gettext("all unsent"),
            sum(tally.count for tally in unsent),
            age(min(births, default=None), survey.now),
        )
    ]
    for state, tally in survey.states.items():
        counts.append(Count(state, STATE_NAMES[state], tally.count, age(tally.oldest, survey.now)))
        if state == WAITING and survey.scheduled:
            counts.append(Count(SCHEDULED, STATE_NAMES[SCHEDULED], survey.scheduled, ""))
    return counts


def moment(seconds: Optional[int]) -> Optional[datetime.datetime]:
    """A time as the site's settings want it; None for one that no calendar has."""
    if seconds is None:
        return None
    try:
        aware = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        return aware if settings.USE_TZ else timezone.make_naive(aware)
    except (OverflowError, ValueError, OSError):
        return None


def age(since: Optional[int], now: float) -> str:
    """In words of one unit: "4 days"."""
    then = moment(since)
    return str(timesince(then, moment(int(now)), depth=1)) if then else ""
