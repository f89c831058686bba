"""The page in a real browser: what it looks like, and what it must not load.

With SCREENSHOTS=FOLDER in the environment the pictures are kept there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from adminsite import QUEUE, AdminSite, letter, put, tree
from lab import net

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER and importlib.util.find_spec("selenium")),
    reason="needs the packages chromium, chromium-driver and python3-selenium",
)

LATER = int(time.time()) + 3000
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1200,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    browser = webdriver.Chrome(service=Service(DRIVER), options=options)
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The browser, on the site."""

    def __init__(self, browser: Any, site: AdminSite) -> None:
        self.browser = browser
        self.site = site

    def go(self, path: str = QUEUE) -> None:
        self.browser.get(self.site.url + path)

    def all(self, css: str) -> List[Any]:
        return list(self.browser.find_elements("css selector", css))

    def texts(self, css: str) -> List[str]:
        return [element.text for element in self.all(css)]

    def click(self, css: str, text: str = "") -> None:
        """The first that has that text."""
        next(element for element in self.all(css) if text in element.text).click()

    def follow(self, css: str, text: str = "") -> None:
        """Clicks on what leads to another page, and waits for that."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        self.browser.execute_script("window.isOld = true")
        self.click(css, text)
        ready = "return !window.isOld && document.readyState === 'complete'"
        wait = WebDriverWait(self.browser, 20, ignored_exceptions=[WebDriverException])
        wait.until(lambda browser: browser.execute_script(ready))

    def type(self, css: str, text: str) -> None:
        [field] = self.all(css)
        field.clear()
        field.send_keys(text)

    def command(self, name: str, **parameters: Any) -> Any:
        return self.browser.execute_cdp_cmd(name, parameters)

    def theme(self, scheme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def size(self, width: int, height: int) -> None:
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=1, mobile=width < 600)  # fmt: skip

    def picture(self, name: str) -> None:
        if "SCREENSHOTS" in os.environ:
            height = self.browser.execute_script("return document.documentElement.scrollHeight")
            width = self.browser.execute_script("return window.innerWidth")
            self.size(width, min(height, 3000))
            self.browser.save_screenshot(os.path.join(os.environ["SCREENSHOTS"], f"{name}.png"))

    def complaints(self) -> List[str]:
        said = [entry["message"] for entry in self.browser.get_log("browser")]
        return [text for text in said if "favicon" not in text]


@pytest.fixture
def page(_chromium: Any, site: AdminSite) -> Iterator[Page]:
    page = Page(_chromium, site)
    page.command("Network.clearBrowserCookies")
    page.size(1200, 900)
    page.theme("light")
    page.go("/admin/login/?next=/admin/")
    page.type("[name=username]", "admin")
    page.type("[name=password]", "secret")
    page.follow("[type=submit]")
    page.complaints()
    yield page


@pytest.fixture
def queue(site: AdminSite) -> Dict[str, str]:
    """A message or more in each state; ids by subject."""
    spool = site.spool
    report = letter("[Ticket 88] Printer on fire", html="<h2>Printer on fire</h2><p>Look at "
                    '<a href="http://example.org/">ticket 88</a>.</p>')  # fmt: skip
    report.add_attachment(b"x" * 54321, maintype="image", subtype="png", filename="Büro – 3.png")
    done = "X-Maildrain-Done: <cto@example.org> 250 2.0.0 Ok: queued as 4F\n"
    refused = "X-Maildrain-Failed: <old@gone.example> 550 5.1.1 No such user here\n"
    ids = [
        put(spool, letter("Reset your password"), ",P=0", age=70, to=["joe@example.net"]),
        put(spool, letter("Your order 10482 is on its way"), age=130),
        put(spool, letter("Newsletter: what’s new"), f",T={LATER + 30000}", age=4000,
            to=["kim@example.net", "lee@example.net", "max@example.net", "zoe@example.net"]),
        put(spool, letter("Rechnung 1187 – Größe & Übersicht"), f",A=1,C=web1-7,T={LATER}"),
        put(spool, report, f",A=3,E=4.2.2,T={LATER}", age=2400,
            block="X-Maildrain-To: <ops@example.org>\n" + done),
        put(spool, letter("Offer for ACME"), folder="hold", age=90000, to=["buyer@acme.example"]),
        put(spool, letter("Welcome"), ",A=1,E=5.1.1", folder="failed", age=7300, block=refused),
        *(put(spool, letter(f"Your order {10300 + n} is confirmed"), ",A=1:2,S", folder="cur",
              age=5000 - n) for n in range(120)),
    ]  # fmt: skip
    subjects = ("password", "order", "newsletter", "bill", "ticket", "offer", "welcome")
    return dict(zip(subjects, ids))


SUBJECTS = "#result_list .md-subject"


def test_look_filter_search_and_page(page: Page, queue: Dict[str, str]) -> None:
    page.follow("#content a", "Mail queue")
    assert len(page.texts(SUBJECTS)) == 7
    page.picture("list")
    page.follow(".md-states a", "deferred")
    assert page.texts(SUBJECTS) == ["[Ticket 88] Printer on fire"]
    assert page.texts(".md-states [aria-current] .md-name") == ["deferred"]
    page.follow(".md-states .md-state-sent")
    first = page.texts(SUBJECTS)
    page.follow(".paginator a", "3")
    assert len(first) == 50 and len(page.texts(SUBJECTS)) == 20
    assert page.texts(".this-page") == ["3"]
    page.follow(".md-states .md-state-unsent")
    page.type("#searchbar", "acme")
    page.follow("#toolbar [type=submit]")
    assert page.texts(SUBJECTS) == ["Offer for ACME"]
    page.follow(SUBJECTS + " a")
    assert page.texts("h1") [-1:] == ["Offer for ACME"] and "on hold" in page.texts("dd")
    assert page.complaints() == [], "nothing that a strict policy forbids"


def test_each_action_asks_and_can_be_declined(page: Page, queue: Dict[str, str]) -> None:
    spool = page.site.spool
    for subject, label, folder, then in (
        ("password", "Hold", "new", "hold"),
        ("offer", "Release", "hold", "new"),
        ("ticket", "Retry now", "new", "new"),
        ("welcome", "Retry now", "failed", "new"),
        ("order", "Cancel", "new", None),
    ):
        before = tree(spool)
        url = f"{QUEUE}{queue[subject]}/change/"
        page.go(url)
        page.follow(".md-buttons button", label)
        page.picture(f"confirm-{subject}")
        page.follow(".md-buttons a", "No, take me back")
        assert tree(spool) == before
        page.go(url)
        page.follow(".md-buttons button", label)
        page.follow(".md-buttons button", "Yes, I’m sure")
        assert page.texts(".messagelist .success")
        found = [where for where, names in tree(spool).items()
                 for name in names if name.startswith(queue[subject])]  # fmt: skip
        assert found == ([then] if then else [])
        assert not any(",T=" in name for name in tree(spool)["new"]
                       if name.startswith(queue[subject]))  # fmt: skip
    assert page.complaints() == []


def test_action_on_what_is_checked_in_the_list(page: Page, queue: Dict[str, str]) -> None:
    page.go()
    for box in page.all("#result_list input[type=checkbox]")[:2]:
        box.click()
    page.click("select[name=action] option", "Hold")
    page.follow(".actions button")
    assert len(page.texts(".md-rows li")) == 2
    page.follow(".md-buttons button", "Yes, I’m sure")
    assert page.texts(".messagelist li") == ["2 messages are on hold."]
    assert len(tree(page.site.spool)["hold"]) == 3


class Tracker:
    """Counts who connects, whether or not a request follows."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = net.listener()
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self.connections += 1
                client.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker()
    yield tracker
    tracker.close()


def loaders(url: str) -> str:
    """All that makes a browser load something by itself."""
    return f"""
        <html><head><link rel="stylesheet" href="{url}/a.css"><link rel="preconnect" href="{url}">
        <link rel="prefetch" href="{url}/b"><link rel="preload" as="image" href="{url}/c">
        <link rel="icon" href="{url}/d.ico"><link rel="dns-prefetch" href="{url}">
        <meta http-equiv="refresh" content="0;url={url}/e">
        <style>@import "{url}/f.css"; @font-face {{ font-family: x; src: url({url}/g) }}
        body {{ background: url({url}/h); font-family: x }}</style></head>
        <body background="{url}/i"><h1>Tracked</h1><img src="{url}/j.gif" srcset="{url}/k 2x">
        <script src="{url}/l.js"></script><script>fetch("{url}/m")</script>
        <iframe src="{url}/n"></iframe><object data="{url}/o"></object><embed src="{url}/p">
        <video src="{url}/q" poster="{url}/r" autoplay></video>
        <audio src="{url}/s" autoplay></audio>
        <img src="x" onerror="location='{url}/t'"><svg><image href="{url}/u"/></svg>
        <input type="image" src="{url}/v"><table background="{url}/w"></table>
        <a id="link" href="{url}/x">a link</a> <a id="self" target="_self" href="{url}/y">here</a>
        <form action="{url}/z"><button id="send">send</button></form></body></html>"""


def test_the_preview_loads_nothing(page: Page, tracker: Tracker) -> None:
    """Whether or not the site has a policy: a frame inherits that one, too."""
    url = f"http://{net.HOST}:{tracker.port}"
    id = put(page.site.spool, letter("Tracked", html=loaders(url)))
    page.go(f"{QUEUE}{id}/change/?lax=1")
    [frame] = page.all("iframe.md-preview")
    assert frame.get_attribute("sandbox") == ""
    page.browser.switch_to.frame(frame)
    assert page.texts("h1") == ["Tracked"], "it is shown"
    time.sleep(1)
    for element in ("#link", "#self", "#send"):
        with contextlib.suppress(StopIteration):  # what can't be clicked may be gone
            page.click(element)
            time.sleep(0.3)
    page.browser.switch_to.default_content()
    assert tracker.connections == 0
    assert page.browser.current_url.endswith("lax=1") and len(page.browser.window_handles) == 1
    page.complaints()


def test_the_tracker_would_notice(page: Page, tracker: Tracker, tmp_path: Path) -> None:
    """The same HTML outside of the preview."""
    file = tmp_path / "mail.html"
    file.write_text(loaders(f"http://{net.HOST}:{tracker.port}"))
    page.browser.get(f"file://{file}")
    end = time.monotonic() + 10
    while tracker.connections < 5 and time.monotonic() < end:
        time.sleep(0.1)
    assert tracker.connections >= 5
    page.browser.get("about:blank")
    page.complaints()


# The contrast of each text with what is behind it, if that is a plain colour. Not of links: their
# colour is Django's alone.
CONTRAST = r"""
function parse(c) { return c.match(/[\d.]+/g).map(Number); }
function light(c) {
    const [r, g, b] = c.slice(0, 3).map(v => {
        v /= 255; return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(e) {
    for (; e; e = e.parentElement) {
        const c = parse(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
}
const low = [];
for (const e of document.querySelectorAll('#content *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.matches('.module h2, .button, option, a')) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(e.className + ' ' + e.textContent.trim().slice(0, 30) + ' ' + ratio);
}
return [low, light(behind(document.querySelector('#content')))];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 380])
def test_readable_in_both_themes_and_on_a_telephone(
    page: Page, queue: Dict[str, str], scheme: str, width: int
) -> None:
    page.size(width, 900)
    page.theme(scheme)
    for name, path in {
        "list": QUEUE,
        "message": f"{QUEUE}{queue['ticket']}/change/",
        "failed": f"{QUEUE}{queue['welcome']}/change/",
    }.items():
        page.go(path)
        low, background = page.browser.execute_script(CONTRAST)
        assert low == []
        assert (background > 0.9) if scheme == "light" else (background < 0.1)
        page.picture(f"{name}-{scheme}-{width}")
        page.size(width, 900)
        overflow = page.browser.execute_script(
            "return document.documentElement.scrollWidth - window.innerWidth"
        )
        assert overflow <= 0, "the page itself does not scroll sideways"


def test_it_works_with_the_keyboard_and_is_named(page: Page, queue: Dict[str, str]) -> None:
    """Each control has a name, and each frame and table its heads."""
    for path in (QUEUE, f"{QUEUE}{queue['ticket']}/change/"):
        page.go(path)
        nameless = page.browser.execute_script(
            "return [...document.querySelectorAll('#content :is(input:not([type=hidden]), select,"
            " button, a, iframe)')].filter(e => !(e.labels && e.labels.length) &&"
            " !e.getAttribute('aria-label') && !e.title && !e.value && !e.textContent.trim())"
            ".map(e => e.outerHTML)"
        )
        assert nameless == []
        scripts = page.browser.execute_script(
            "return [...document.querySelectorAll('#content script, #content [onclick],"
            " #content [style]')].length"
        )
        assert scripts == 0
        assert page.all("#content table th[scope=col]") and page.all("#content table th[scope=row]")
    assert re.search(r"<html lang=", page.browser.page_source)
