"""The admin's page with the queue, as a client that sees its HTML gets it."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest
from adminsite import QUEUE, AdminSite, Visitor, letter, put, tree
from lab import repo
from lab.spool import Spool as LabSpool

LATER = int(time.time()) + 3000


def change_url(id: str) -> str:
    """As Django's admin quotes ids."""
    return f"{QUEUE}{id}/change/"


# ---- how it is part of the admin ----


def test_no_model_no_table_no_migration(site: AdminSite) -> None:
    site.manage("makemigrations", "--check", "--dry-run")
    site.manage("makemigrations", "maildrain", "--check", "--dry-run")
    site.manage("check", "--fail-level", "WARNING")
    site.manage("dumpdata", "--verbosity", "0")
    models = site.ask("len(list(__import__('django').apps.apps.get_app_config('maildrain')"
                      ".get_models(include_auto_created=True, include_swapped=True)))")  # fmt: skip
    assert models == 0
    tables = site.ask("__import__('django.db').db.connection.introspection.table_names()")
    assert [name for name in tables if "maildrain" in name or "queue" in name] == []


def test_permissions_are_made_once(site: AdminSite) -> None:
    site.manage("migrate", "--verbosity", "0")
    found = site.ask(
        "sorted(__import__('django.contrib.auth.models').contrib.auth.models.Permission.objects"
        ".filter(content_type__app_label='maildrain').values_list('codename', flat=True))"
    )
    assert found == ["change_queue", "view_queue"]


def test_index_and_sidebar_show_it(site: AdminSite, visitor: Visitor) -> None:
    for path in ("/admin/", "/admin/maildrain/", "/admin/auth/user/"):
        assert f'href="{QUEUE}"' in visitor.get(path).text, path


def test_who_may_see_it(site: AdminSite) -> None:
    put(site.spool, letter())
    viewer, nobody = site.visitor("viewer"), site.visitor("nobody")
    assert f'href="{QUEUE}"' in viewer.get("/admin/").text
    page = viewer.get()
    assert page.status == 200 and "Hello" in page.text and page.ids == []
    assert QUEUE not in nobody.get("/admin/").text
    assert nobody.get().status == 403
    assert Visitor(site.url).get().status == 302, "to the login"


def test_another_admin_site_has_it_too(site: AdminSite, visitor: Visitor) -> None:
    id = put(site.spool, letter())
    page = visitor.get("/office/maildrain/queue/")
    assert "/office/maildrain/queue/act/" in page.text and "/admin/maildrain" not in page.text
    page = visitor.get(f"/office/maildrain/queue/{id}/change/")
    assert "The text of Hello." in page.text and "/admin/maildrain" not in page.text


# ---- the list ----


def test_counts_are_the_programs(make_spool: Callable[..., LabSpool], site: AdminSite,
                                 visitor: Visitor) -> None:  # fmt: skip
    put(site.spool, letter())
    put(site.spool, letter(), f",T={LATER}")
    put(site.spool, letter(), f",A=1,C=web1-7,T={LATER}")
    for _ in range(3):
        put(site.spool, letter(), f",A=1,E=4.2.2,T={LATER}")
    for _ in range(4):
        put(site.spool, letter(), ",A=1,E=5.1.1", folder="failed", age=7200)
    for _ in range(5):
        put(site.spool, letter(), ",A=1:2,S", folder="cur")
    for _ in range(6):
        put(site.spool, letter(), folder="hold")
    config = site.spool.parent / "maildrain.conf"
    argv = [repo.program(), "-c", config, "status", "--json"]
    status = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    said = {state: tally["count"] for state, tally in status["states"].items()}
    page = visitor.get()
    shown = {
        key: int(number)
        for key, number in re.findall(
            r'class="md-state-(\w+)"[^>]*>\s*<span class="md-count">(\d+)', page.text
        )
    }
    assert shown == {**said, "scheduled": 1, "held": 6, "unsent": 16}
    assert "failed oldest 2 hours" in page.words
    assert len(page.ids) == 16


@pytest.mark.parametrize(
    "state, subjects",
    [
        ("", ["waiting", "scheduled", "deferred", "held", "failed"]),
        ("nonsense", ["waiting", "scheduled", "deferred", "held", "failed"]),
        ("waiting", ["waiting", "scheduled"]),
        ("scheduled", ["scheduled"]),
        ("deferred", ["deferred"]),
        ("in_flight", []),
        ("held", ["held"]),
        ("failed", ["failed"]),
        ("sent", ["sent"]),
    ],
)
def test_filter(site: AdminSite, visitor: Visitor, state: str, subjects: List[str]) -> None:
    put(site.spool, letter("waiting"))
    put(site.spool, letter("scheduled"), f",T={LATER}")
    put(site.spool, letter("deferred"), f",A=2,E=4.2.2,T={LATER}")
    put(site.spool, letter("held"), folder="hold")
    put(site.spool, letter("failed"), ",A=1,E=5.1.1", folder="failed")
    put(site.spool, letter("sent"), ",A=1:2,S", folder="cur")
    assert listed(visitor.get(state=state)) == subjects


def listed(page: Any) -> List[str]:
    """The subjects of a list."""
    found = re.findall(r'class="md-subject"><a [^>]*>([^<]*)', page.text)
    return [html.unescape(subject) for subject in found]


def test_row(site: AdminSite, visitor: Visitor) -> None:
    to = ["a@example.net", "b@example.net", "c@example.net"]
    put(site.spool, letter("Überraschung"), f",A=3,E=4.2.2,T={LATER}", to=to, age=7300)
    words = visitor.get().words
    assert "Überraschung a@example.net b@example.net and 1 more deferred 3 4.2.2 in" in words
    assert "2 hours" in words


@pytest.mark.parametrize(
    "text", ["überraschung", "JOE@EXAMPLE.ORG", "joe@", ".web1", "shop@example.com"]
)
def test_search(site: AdminSite, visitor: Visitor, text: str) -> None:
    put(site.spool, letter("Eine Überraschung"), to=["kim@example.org", "joe@example.org"])
    if text in ("überraschung", "JOE@EXAMPLE.ORG", "joe@"):
        put(site.spool, letter("Another"))
        put(site.spool, letter("Sent"), ",A=1:2,S", folder="cur", to=["joe@example.org"])
    page = visitor.get(q=text)
    assert listed(page) == ["Eine Überraschung"]
    assert "1 found;" in page.words


def test_search_that_finds_nothing(site: AdminSite, visitor: Visitor) -> None:
    put(site.spool, letter())
    assert "No message found." in visitor.get(q="text of").words, "not in the body"


def test_search_says_where_it_stopped_and_goes_on(site: AdminSite, visitor: Visitor) -> None:
    for number in range(2030):
        put(site.spool, letter("one of many"), age=5000)
    put(site.spool, letter("the last one"), age=5)
    site.opened_files()
    page = visitor.get(q="last")
    assert listed(page) == [] and "2000 messages were searched of 2031." in page.words
    assert len(site.opened_files()) == 2000
    page = visitor.get(q="last", **{"from": 2000, "state": "unsent"})
    assert listed(page) == ["the last one"] and "Search on" not in page.words
    page = visitor.get(q="many")
    assert len(listed(page)) == 50 and "50 found; 50 messages were searched of 2031." in page.words
    assert "from=50" in page.text


def test_pages_show_each_message_once(site: AdminSite, visitor: Visitor) -> None:
    ids = [put(site.spool, letter(), age=10_000 - number) for number in range(120)]
    seen: List[str] = []
    for page in (1, 2, 3):
        site.opened_files()
        seen += visitor.get(p=page).ids
        assert len(site.opened_files()) == min(50, 120 - 50 * (page - 1)), "no more than it shows"
    assert seen == ids
    assert visitor.get(p=4).ids == [] and visitor.get(p="-1").ids == ids[:50]
    assert visitor.get(p="x" * 5000).status == 200


# ---- one message ----


def test_message(site: AdminSite, visitor: Visitor) -> None:
    message = letter("Grüße aus Köln", html="<p>Some <b>bold</b> words</p>", X_Note="é" * 60)
    message.add_attachment(b"x" * 2048, maintype="application", subtype="pdf",
                           filename="Rechnung – März.pdf")  # fmt: skip
    block = (
        "X-Maildrain-To: <todo@example.net>\n"
        "X-Maildrain-Done: <done@example.net> 250 2.0.0 Ok: queued as 4F\n"
        "X-Maildrain-Failed: <bad@example.net> 550 5.1.1 No such user <here>\n"
        "X-Maildrain-Relay: bulk\n"
    )
    id = put(site.spool, message, f",A=3,E=4.4.2,P=2,T={LATER},X={LATER + 999}", block=block)
    page = visitor.get(change_url(id))
    words = html.unescape(page.words)
    for part in (
        "Grüße aus Köln",
        "State deferred",
        "Attempts 3",
        "Last status 4.4.2: the connection was lost in the midst of the message",
        "Next attempt Nov" if time.gmtime(LATER).tm_mon == 11 else "Next attempt",
        "Expires",
        "Priority 2",
        "Relay asked for bulk",
        "Sender shop@example.com",
        "todo@example.net deferred –",
        "done@example.net sent 250 2.0.0 Ok: queued as 4F",
        "bad@example.net failed 550 5.1.1 No such user <here>",
        f"sudo journalctl -t maildrain | grep -F id={id}",
        "The text of Grüße aus Köln.",
        "Rechnung – März.pdf application/pdf 2.0",
        "X-Note " + "é" * 60,
        f"{site.spool}/new/{id},A=3,E=4.4.2,P=2,T={LATER}",
    ):
        assert part in words, part
    frame = re.search(r'<iframe [^>]*sandbox="" [^>]*srcdoc="([^"]*)"', page.text)
    assert frame and "<p>Some <b>bold</b> words</p>" in html.unescape(frame[1])
    assert html.unescape(frame[1]).index("Content-Security-Policy") < 120


def test_images_that_a_message_brings_along_are_in_its_preview(
    site: AdminSite, visitor: Visitor
) -> None:
    message = letter(html='<img src="cid:logo@here"><img src="cid:gone">')
    part = message.get_payload()[1]
    part.add_related(b"\x89PNG", "image", "png", cid="<logo@here>")
    page = html.unescape(visitor.get(change_url(put(site.spool, message))).text)
    assert '<img src="data:image/png;base64,iVBORw=="><img src="">' in page


def test_preview_keeps_what_is_harmless_and_drops_the_rest(
    site: AdminSite, visitor: Visitor
) -> None:
    body = (
        '<base href="http://b/"><p style="color: red" onclick="x()" CLASS=a>A &lt;b&gt; &amp; c</p>'
        '<a href="http://a/?b=1&amp;c" target=_self>link</a><img src="http://i/"><link rel=preload>'
        '<style>p > a {} </style><link rel=preconnect href=//x>'
        "<textarea><p>hidden</p></textarea><svg><p>no</svg><noscript><b>no</b></noscript>"
        '<table background="http://t/" bgcolor="red"><tr><td>cell</table><!-- x --><p title=\'"<\'>'
    )
    page = visitor.get(change_url(put(site.spool, letter(html=body)))).text
    frame = re.search(r'srcdoc="([^"]*)"', page)
    assert frame
    assert html.unescape(frame[1]).partition("</head>")[2].strip() == (
        '<p style="color: red" class="a">A &lt;b&gt; &amp; c</p>'
        '<a title="http://a/?b=1&amp;c">link</a><img src="">'
        "<style>p > a {} </style>"
        '<table bgcolor="red"><tr><td>cell</table><p title="&quot;&lt;">'
    )


def test_no_preview_of_long_html(site: AdminSite, visitor: Visitor) -> None:
    page = visitor.get(change_url(put(site.spool, letter(html="<p>x</p>" * 50_000))))
    assert "There is no preview" in page.words and "<iframe" not in page.text


def test_nothing_in_a_message_becomes_part_of_the_page(site: AdminSite, visitor: Visitor) -> None:
    bad = '"><script>alert(1)</script>\x85'
    message = letter(bad.strip("\x85"), html=f"</iframe>{bad}", X_Odd=bad.strip("\x85"))
    message.add_attachment(b"x", maintype="image", subtype="png", filename=bad.strip("\x85"))
    block = f"X-Maildrain-Failed: <{bad[2:]}> 550 {bad}\n"
    id = put(site.spool, message, ",A=1,E=5.1.1", folder="failed", block=block)
    for page in (visitor.get(), visitor.get(change_url(id)), visitor.act("cancel", id)):
        assert page.status == 200
        assert "<script>alert" not in page.text and "</iframe>&quot;" not in page.text
        assert "alert(1)" in page.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"no header at all",
        b"X-Maildrain-To: broken\nSubject: x\n\n",
        b"X-Maildrain-Unknown: <a@b>\n\n",
        b"Subject: =?utf-8?b?!!!?=\nTo: <\n\nx",
        b"Subject: =?nonsense?q?x?=\n\n",
        b"Subject: \xff\xfe raw\nFrom: =?utf-16?b?2AA=?=\n\n\xff",
        b"Content-Type: text/plain; charset=nonsense\n\n\xe9",
        b"Content-Type: multipart/mixed\n\nno boundary",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\n" * 2000,
        b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n)
                 for n in range(3000)),
        b"Content-Transfer-Encoding: base64\nContent-Type: text/html\n\n!!!",
        b"A: b\n" * 20000,
        b"Content-Disposition: attachment; filename*=nonsense''%ff\n\nx",
    ],
    ids=range(15),
)  # fmt: skip
def test_odd_files_are_shown_somehow(site: AdminSite, visitor: Visitor, content: bytes) -> None:
    (site.spool / "new" / "odd").write_bytes(content)
    assert visitor.get().status == 200
    page = visitor.get(change_url("odd"))
    assert page.status == 200 and "State waiting" in page.words


def test_odd_names_are_found(site: AdminSite, visitor: Visitor) -> None:
    name = "a letter_ü%2F?#&.eml"
    (site.spool / "new" / name).write_bytes(bytes(letter("odd one")))
    url = re.search(r'class="md-subject"><a href="([^"]*)', visitor.get().text)
    assert url and "The text of odd one." in visitor.get(html.unescape(url[1])).text


def test_a_large_message_is_not_read_whole(site: AdminSite, visitor: Visitor) -> None:
    message = letter("large")
    message.add_attachment(b"x" * 12_000_000, maintype="application", subtype="zip",
                           filename="a.zip")  # fmt: skip
    words = visitor.get(change_url(put(site.spool, message))).words
    assert "its end is missing above" in words and "a.zip" in words and "15." in words


def test_no_such_message(site: AdminSite, visitor: Visitor) -> None:
    assert visitor.get(change_url("1.M1P1Q1.web1")).status == 404


# ---- changes ----


@pytest.mark.parametrize(
    "action, folder, fields, then, said",
    [
        ("retry", "new", f",A=2,E=4.2.2,T={LATER}", {"new": [",A=2,E=4.2.2"]}, "is due now"),
        ("retry", "new", f",T={LATER}", {"new": [""]}, "is due now"),
        ("retry", "failed", ",A=9,E=5.4.7", {"new": [",A=9,E=5.4.7"]}, "is due now"),
        ("hold", "new", f",A=1,E=4.2.2,T={LATER}",
         {"hold": [f",A=1,E=4.2.2,T={LATER}"]}, "is on hold"),
        ("release", "hold", f",A=1,T={LATER}", {"new": [f",A=1,T={LATER}"]}, "is released"),
        ("cancel", "new", "", {}, "is cancelled"),
        ("cancel", "hold", "", {}, "is cancelled"),
        ("cancel", "failed", ",A=1,E=5.1.1", {}, "is cancelled"),
    ],
)  # fmt: skip
def test_actions_ask_first_and_are_logged(
    site: AdminSite, visitor: Visitor, action: str, folder: str, fields: str, then: Any, said: str
) -> None:
    id = put(site.spool, letter("Please"), fields, folder=folder)
    before = tree(site.spool)
    page = visitor.get(change_url(id))
    assert f'name="action" value="{action}"' in page.text
    asked = visitor.act(action, id)
    assert asked.status == 200 and "Please" in asked.text and "Yes, I’m sure" in asked.text
    assert tree(site.spool) == before
    assert visitor.act(action, id, confirmed=True).location == QUEUE
    found = {where: [name[len(id):] for name in names] for where, names in tree(site.spool).items()}
    assert found == then
    assert visitor.said() == f"1 message {said}."
    [entry] = site.ask(
        "[[e.user.username, e.action_flag, e.change_message, e.content_type.app_label]"
        f" for e in LogEntry.objects.filter(object_id={id!r})]"
    )
    assert entry[:2] == ["admin", 3 if action == "cancel" else 2]
    assert entry[2].endswith(f" ({folder}/{id}{fields})") and entry[3] == "maildrain"


def test_recent_actions_lead_to_the_message(site: AdminSite, visitor: Visitor) -> None:
    id = put(site.spool, letter("Please"), ",A=1_,E=4.2.2")
    visitor.get()
    visitor.act("hold", id, confirmed=True)
    page = visitor.get("/admin/").text
    url = re.search(r'<li class="changelink">.*?<a href="([^"]*)', page, re.DOTALL)
    assert url and "State on hold" in visitor.get(url[1]).words


def test_several_at_once(site: AdminSite, visitor: Visitor) -> None:
    held = [put(site.spool, letter(f"number {n}")) for n in range(3)]
    claimed = put(site.spool, letter("in hand"), f",A=1,C=web1-7,T={LATER}")
    visitor.get()
    asked = visitor.act("hold", *held, claimed, "gone")
    assert asked.ids == held
    assert "Left alone" in asked.words and "in hand" in asked.words
    assert "1 message is gone by now." in asked.words
    visitor.act("hold", *held, claimed, "gone", confirmed=True)
    assert tree(site.spool) == {"hold": held, "new": [f"{claimed},A=1,C=web1-7,T={LATER}"]}
    said = visitor.said()
    assert "3 messages are on hold." in said and "1 message is gone." in said
    assert f"{claimed} is in a state, or in hands, that does not allow this." in said


def test_a_message_that_was_claimed_while_it_was_asked(site: AdminSite, visitor: Visitor) -> None:
    id = put(site.spool, letter())
    visitor.get()
    assert visitor.act("cancel", id).ids == [id]
    claimed = f"{id},A=1,C=web1-7,T={LATER}"
    os.rename(site.spool / "new" / id, site.spool / "new" / claimed)
    visitor.act("cancel", id, confirmed=True)
    assert tree(site.spool) == {"new": [claimed]}
    assert "in hands, that does not allow this" in visitor.said()


def test_changes_need_a_token_a_post_and_the_permission(site: AdminSite, visitor: Visitor) -> None:
    id = put(site.spool, letter())
    visitor.get()
    fields = {"action": "cancel", "id": id, "confirmed": "yes"}
    assert visitor.post(QUEUE + "act/", token=False, **fields).status == 403
    assert visitor.get(QUEUE + "act/", **fields).status == 302
    viewer = site.visitor("viewer")
    page = viewer.get(change_url(id))
    assert page.status == 200 and 'name="action"' not in page.text
    viewer.get()
    for confirmed in (False, True):
        denied = viewer.act("cancel", id, confirmed=confirmed)
        assert denied.status == 403 and "CSRF" not in denied.text
    assert tree(site.spool) == {"new": [id]}


def test_no_action_or_no_message_chosen(site: AdminSite, visitor: Visitor) -> None:
    id = put(site.spool, letter())
    visitor.get()
    for action, ids in (("", [id]), ("cancel", []), ("purge", [id])):
        assert visitor.act(action, *ids, confirmed=True).location == QUEUE
        assert "Choose an action" in visitor.said()
    assert tree(site.spool) == {"new": [id]}


# ---- rights ----

WEB, MAIL = 33, 8  # www-data and mail, which every Debian has


@pytest.fixture
def foreign(home: Path) -> Path:
    """A spool of root's, with the group mail."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    if not all(path.stat().st_mode & 0o001 for path in Path(sys.executable).resolve().parents):
        pytest.skip("this Python is out of other users' reach")
    spool = home / "spool"
    for name in ("", "tmp", "new", "cur", "failed"):
        path = spool / name
        path.mkdir(parents=True)
        os.chown(path, 0, MAIL)
        path.chmod(0o3770 if name in ("", "tmp", "new") else 0o2750)
    return spool


def test_a_web_user_outside_the_group_is_told_how_to_join(
    foreign: Path, make_site: Callable[..., AdminSite]
) -> None:
    visitor = make_site(foreign, user=(WEB, WEB, [WEB])).visitor()
    page = visitor.get()
    assert page.status == 200 and "sudo usermod -aG mail www-data" in page.text
    assert "sudo usermod -aG mail www-data" in visitor.get(QUEUE + "some-id/change/").text


def test_what_a_member_of_the_group_can_do_and_who_does_the_rest(
    foreign: Path, make_site: Callable[..., AdminSite]
) -> None:
    visitor = make_site(foreign, user=(WEB, WEB, [MAIL])).visitor()
    own = put(foreign, letter("own"), f",T={LATER}", owner=(WEB, MAIL))
    sent_in_part = put(foreign, letter("in part"), f",A=1,E=4.2.2,T={LATER}", owner=(0, MAIL))
    failed = put(foreign, letter("failed"), ",A=1,E=5.1.1", folder="failed", owner=(WEB, MAIL))
    secret = put(foreign, letter("secret"), owner=(0, 0))
    assert "1 message" not in visitor.get().words and len(visitor.get().ids) == 4
    assert f"{secret} can&#x27;t be read by the user www-data" in visitor.get().text
    visitor.act("hold", own, confirmed=True)
    assert visitor.said() == "1 message is on hold."
    for id, action, where in ((sent_in_part, "hold", "new"), (failed, "retry", "failed")):
        [name] = [name for name in tree(foreign)[where] if name.startswith(id)]
        target = "hold" if action == "hold" else "new"
        command = f"sudo -u root mv -n {foreign}/{where}/{name} {foreign}/{target}/{name}"
        page = visitor.get(change_url(id))
        assert command in page.text and f'value="{action}"' not in page.text
        asked = visitor.act(action, id)
        assert command in asked.text and "Yes, I’m sure" not in asked.text
        visitor.act(action, id, confirmed=True)
        assert command in visitor.said()
    assert len(tree(foreign)["new"]) == 2 and len(tree(foreign)["failed"]) == 1


def test_no_spool(make_site: Callable[..., AdminSite], tmp_path: Path) -> None:
    visitor = make_site(tmp_path / "none").visitor()
    page = visitor.get()
    assert page.status == 200 and f"sudo maildrain init {tmp_path / 'none'}" in page.text
