"""The HTML of a message as a document that can be looked at without anybody being told.

It is shown in a frame with an empty sandbox and a policy that lets nothing be loaded. Both leave
some ways to reach a server: a browser connects ahead for <link rel=preconnect>, for frames, and for
links that are about to be clicked. So the HTML is also written anew, with known elements and
attributes alone, and without the address of any link, which goes into its title.
"""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser
from typing import Dict, List, Optional, Tuple

from .letter import HTML_MAX, IMAGES_MAX, Letter

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
START = (
    '<!DOCTYPE html><html><head><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    '<meta name="referrer" content="no-referrer">'
    "<style>a { color: #00e; text-decoration: underline; cursor: help }</style></head>"
)

_ELEMENTS = frozenset(
    "a abbr address article aside b big blockquote body br caption center cite code col colgroup dd"
    " del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img"
    " ins kbd li main mark nav ol p pre q s samp section small span strike strong style sub summary"
    " sup table tbody td tfoot th thead tr tt u ul var wbr".split()
)
_ATTRIBUTES = frozenset(
    "align alt bgcolor border cellpadding cellspacing class color colspan dir face height hspace id"
    " lang nowrap role rowspan size span start style title type valign vspace width".split()
)
_HIDDEN = frozenset("script title template textarea noscript select object svg math".split())
_EMPTY = frozenset("br col hr img wbr".split())


def document(letter: Letter) -> str:
    """For the srcdoc of a frame; "" without HTML, or when it is too long or can't be parsed."""
    if not letter.html or len(letter.html) > HTML_MAX:
        return ""
    writer = _Writer(letter.images)
    try:
        writer.feed(letter.html)
        writer.close()
    except Exception:  # older releases of Python trip over some declarations
        return ""
    return START + "".join(writer.pieces)


class _Writer(HTMLParser):
    def __init__(self, images: Dict[str, str]) -> None:
        super().__init__(convert_charrefs=True)
        self._images = images
        self._room = IMAGES_MAX
        self.pieces: List[str] = []
        self._hidden: List[str] = []  # elements that are open, whose content is left out
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag in _ELEMENTS and not self._hidden:
            kept = "".join(
                f' {name}="{escape(value)}"'
                for name, value in (self._attribute(tag, *each) for each in attrs)
                if name
            )
            self.pieces.append(f"<{tag}{kept}>")
            self._is_style = tag == "style"

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        if tag not in _HIDDEN and tag != "style":
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        elif tag in _ELEMENTS and tag not in _EMPTY and not self._hidden:
            self.pieces.append(f"</{tag}>")
            self._is_style = False

    def handle_data(self, data: str) -> None:
        if self._is_style:
            # Nothing in it ends the element, whatever a browser takes for its end.
            self.pieces.append(data.replace("<", r"\3c "))
        elif not self._hidden:
            self.pieces.append(escape(data))

    def _attribute(self, tag: str, name: str, value: Optional[str]) -> Tuple[str, str]:
        """What an attribute becomes; with no name, it is left out."""
        value = value or ""
        if tag == "a" and name == "href":
            return "title", value
        if tag == "img" and name == "src":
            return name, self._image(value)
        return (name, value) if name in _ATTRIBUTES else ("", "")

    def _image(self, url: str) -> str:
        """The image itself, as long as there is room: the same one may be asked for many times."""
        image = self._images.get(url[4:], "") if url[:4].lower() == "cid:" else url
        self._room -= len(image)
        return image if image.startswith("data:image/") and self._room >= 0 else ""
