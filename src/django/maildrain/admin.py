"""The mail queue as a page of Django's admin.

There is no model and no table behind it: Queue only has what an AdminSite asks a model for, and its
"rows" are the files of the spool. Django registers it with the default site; with another one,
`maildrain.admin.register(site)` does.
"""

from __future__ import annotations

import math
import time
from typing import Any, Dict, Iterable, List, Optional, Tuple

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import get_template
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.csrf import csrf_protect

from . import letter, permissions, places, preview, rows
from .entry import STATES
from .rows import ACTIONS, Action, Row
from .spool import SCHEDULED, UNSENT, Gone, Record, Spool, SpoolError

PAGE = 50  # messages on a page, and so files that it opens
SEARCHED = 2000  # files that a search opens at most before it asks whether to go on
UNSENT_LABEL = "unsent"


class _Options:
    """What Django's admin reads from the _meta of a model."""

    app_label = permissions.APP
    model_name = module_name = permissions.MODEL
    object_name = "Queue"
    label = "maildrain.Queue"
    label_lower = "maildrain.queue"
    verbose_name = gettext_lazy("message")
    verbose_name_plural = gettext_lazy("mail queue")
    verbose_name_raw = "message"
    abstract = swapped = proxy = is_composite_pk = False
    managed = False
    concrete_model = None
    default_permissions = ("view", "change")
    permissions = ()

    @property
    def app_config(self) -> Any:
        return apps.get_app_config(self.app_label)


class Queue:
    """Stands where an AdminSite has a model."""

    _meta = _Options()


class QueueAdmin(admin.ModelAdmin):
    """The pages: the list, one message, and the question before a change."""

    def check(self, **kwargs: Any) -> List[Any]:
        return []  # Django's checks are about fields

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> List[Any]:
        def view(function: Any) -> Any:
            return self.admin_site.admin_view(csrf_protect(function))

        return [
            path("", view(self.list_view), name="maildrain_queue_changelist"),
            path("act/", view(self.act_view), name="maildrain_queue_act"),
            path("<str:id>/change/", view(self.message_view), name="maildrain_queue_change"),
        ]

    # ---- the list ----

    def list_view(self, request: HttpRequest) -> HttpResponse:
        self._need(request, self.has_view_permission(request))
        spools = _spools()
        alias = request.GET.get("spool", "")
        spool = spools.get(alias) or next(iter(spools.values()))
        listing = Listing(spool, request.GET)
        context = {
            "title": gettext("Mail queue"),
            "listing": listing,
            "spool": spool,
            "spools": [(name, name == alias) for name in spools] if len(spools) > 1 else [],
            "actions": ACTIONS.values(),
            "act_url": self._url("act"),
            "can_change": self.has_change_permission(request),
        }
        try:
            listing.read()
            for row in listing.rows:
                row.url = self._url("change", row.id)
        except SpoolError as error:
            context["error"] = error
        return self._render(request, "queue", context)

    # ---- one message ----

    def message_view(self, request: HttpRequest, id: str) -> HttpResponse:
        self._need(request, self.has_view_permission(request))
        try:
            found = _find([unquote(id)])
        except SpoolError:
            return self.list_view(request)  # which says what is wrong
        if not found:
            raise Http404(gettext("There is no such message: it may be purged, or cancelled."))
        spool, record = found[0]
        context: Dict[str, Any] = {
            "title": gettext("Message"),
            "spool": spool,
            "page_name": record.id,
            "act_url": self._url("act"),
        }
        row = Row(record, time.time())
        context["row"] = row
        try:
            data, status = spool.read(record, letter.LETTER_MAX)
            row.letter = letter.read(data)
            context.update(size=status.st_size, is_cut=status.st_size > len(data))
            context["preview"] = preview.document(row.letter)
        except SpoolError as error:
            context["error"] = error
        if self.has_change_permission(request):
            able = [a for a in ACTIONS.values() if spool.may(a.name, record)]
            denied = [(a, spool.denial(a.name, record)) for a in able]
            context["actions"] = [action for action, denial in denied if denial is None]
            context["denied"] = [(action, denial) for action, denial in denied if denial]
        return self._render(request, "message", context)

    # ---- changes ----

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Asks; and once that is confirmed, does it. Reached by POST alone."""
        self._need(request, self.has_change_permission(request))
        if request.method != "POST":
            return HttpResponseRedirect(self._url("changelist"))
        action = ACTIONS.get(request.POST.get("action", ""))
        ids = request.POST.getlist("id")[:PAGE]
        if action is None or not ids:
            text = gettext("Choose an action, and the messages that it is for.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self._url("changelist"))
        try:
            found = _find(ids)
        except SpoolError as error:
            self.message_user(request, error.text, messages.ERROR)
            return HttpResponseRedirect(self._url("changelist"))
        if "confirmed" in request.POST:
            return self._act(request, action, found, len(ids) - len(found))
        return self._ask(request, action, found, len(ids) - len(found))

    def _ask(
        self, request: HttpRequest, action: Action, found: List[Tuple[Spool, Record]], gone: int
    ) -> HttpResponse:
        now = time.time()
        able: List[Row] = []
        unable: List[Row] = []
        denied: List[Tuple[Row, SpoolError]] = []
        for spool, record in found:
            row = rows.read_row(spool, record, now)
            denial = spool.denial(action.name, record)
            if not spool.may(action.name, record):
                unable.append(row)
            elif denial:
                denied.append((row, denial))
            else:
                able.append(row)
        context = {
            "title": action.title,
            "page_name": action.title,
            "action": action,
            "able": able,
            "unable": unable,
            "denied": denied,
            "gone": gone,
            "list_url": self._url("changelist"),
            "act_url": self._url("act"),
        }
        return self._render(request, "confirm", context)

    def _act(
        self, request: HttpRequest, action: Action, found: List[Tuple[Spool, Record]], gone: int
    ) -> HttpResponse:
        done = 0
        for spool, record in found:
            try:
                action.do(spool, record)
            except SpoolError as error:
                text = f"{error.text} {error.command}".strip()
                level = messages.WARNING if isinstance(error, Gone) else messages.ERROR
                self.message_user(request, text, level)
            else:
                done += 1
                self._log(request, action, record)
        if gone:
            text = ngettext("%d message is gone.", "%d messages are gone.", gone) % gone
            self.message_user(request, text, messages.WARNING)
        if done:
            self.message_user(request, action.said(done), messages.SUCCESS)
        return HttpResponseRedirect(self._url("changelist"))

    def _log(self, request: HttpRequest, action: Action, record: Record) -> None:
        LogEntry.objects.create(
            user_id=request.user.pk,
            content_type_id=permissions.content_type_for().pk,
            object_id=record.id,
            object_repr=record.id[:200],
            action_flag=DELETION if action.removes else CHANGE,
            change_message=f"{action.past} ({record.folder}/{record.entry.name})",
        )

    # ---- what all have ----

    def _need(self, request: HttpRequest, allowed: bool) -> None:
        if not allowed:
            raise PermissionDenied

    def _url(self, page: str, id: Optional[str] = None) -> str:
        args = [] if id is None else [quote(id)]
        name = f"{self.admin_site.name}:maildrain_queue_{page}"
        return str(reverse(name, args=args, current_app=self.admin_site.name))

    def _render(self, request: HttpRequest, name: str, context: Dict[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": Queue._meta,
            "has_listed_breadcrumbs": _has_listed_breadcrumbs(),
            **context,
        }
        return TemplateResponse(request, f"maildrain/admin/{name}.html", context)


class Listing:
    """A page of the list, as the query asks for it."""

    def __init__(self, spool: Spool, query: Any) -> None:
        self.spool = spool
        self.alias = query.get("spool", "")
        self.text = query.get("q", "").strip()
        self.filter = query.get("state", "")
        if self.filter not in (*STATES, SCHEDULED):
            self.filter = UNSENT_LABEL
        self.states: Tuple[str, ...] = UNSENT if self.filter == UNSENT_LABEL else (self.filter,)
        self.page = max(1, _number(query.get("p")))
        self.start = max(0, _number(query.get("from")))  # of a search: files it has been through
        self.rows: List[Row] = []

    def read(self) -> None:
        start = self.start if self.text else (self.page - 1) * PAGE
        stop = start + (SEARCHED if self.text else PAGE)
        self.survey, records = self.spool.look(self.states, stop)
        self.summary = rows.summary(self.survey)
        self.total = _total(self.survey, self.states)
        self.pages = max(1, math.ceil(self.total / PAGE))
        if self.text:
            self._search(records[start:])
        else:
            self.rows = [self._row(record) for record in records[start:]]

    def _row(self, record: Record) -> Row:
        return rows.read_row(self.spool, record, self.survey.now)

    def _search(self, records: List[Record]) -> None:
        self.searched = self.start
        for record in records:
            self.searched += 1
            row = self._row(record)
            if row.mentions(self.text):
                self.rows.append(row)
                if len(self.rows) == PAGE:
                    break

    @property
    def has_more(self) -> bool:
        """Of a search: whether there are files that it has not been through."""
        return bool(self.text) and self.searched < self.total

    @property
    def more_url(self) -> str:
        return self.url(**{"from": self.searched})

    @property
    def filters(self) -> Iterable[Tuple[str, bool, rows.Count]]:
        for count in self.summary:
            yield self.url(state=count.key, q=self.text), count.key == self.filter, count

    @property
    def links(self) -> List[Tuple[Optional[int], str]]:
        """The pages of the paginator; None where some are left out."""
        near = {1, self.pages, *range(self.page - 2, self.page + 3)}
        links: List[Tuple[Optional[int], str]] = []
        for page in sorted(page for page in near if 1 <= page <= self.pages):
            if links and links[-1][0] != page - 1:
                links.append((None, ""))
            links.append((page, self.url(p=page)))
        return links

    def url(self, **changes: Any) -> str:
        query = {"spool": self.alias, "state": self.filter, "q": self.text, **changes}
        return "?" + str(urlencode({key: value for key, value in query.items() if value}))


def _number(text: Optional[str]) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def _total(survey: Any, states: Iterable[str]) -> int:
    return sum(
        survey.scheduled if state == SCHEDULED else survey.states[state].count for state in states
    )


def _spools() -> Dict[str, Spool]:
    found = {alias: Spool(where) for alias, where in places.spools().items()}
    if not found:
        raise Http404(gettext("The settings name no spool: see EMAIL_FILE_PATH or MAILERS."))
    return found


def _find(ids: List[str]) -> List[Tuple[Spool, Record]]:
    """The messages that are still there, in whichever spool."""
    found: Dict[str, Tuple[Spool, Record]] = {}
    for spool in _spools().values():
        for record in spool.find(ids):
            found.setdefault(record.id, (spool, record))
    return list(found.values())


def _has_listed_breadcrumbs() -> bool:
    """Newer releases of Django have a list where older ones have a line."""
    source = getattr(getattr(get_template("admin/base.html"), "template", None), "source", "")
    return '<ol class="breadcrumbs"' in source


def register(site: admin.AdminSite) -> None:
    """Adds the page to a site of your own."""
    site.register([Queue], QueueAdmin)


register(admin.site)
