"""address_list against email.utils.getaddresses, on lists made at random from a fixed seed.

Three judges look at each list. The generator knows the addresses of the lists it did not damage.
SHAPE_OF_A_LIST, a regular expression over tokens, knows which texts are lists at all. And Python's
parser, which takes almost everything, must agree or differ in a way that DIFFERENCES explains.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import subprocess
from dataclasses import dataclass, replace
from email.utils import getaddresses
from typing import Callable, List, Optional, Tuple

import pytest

COUNT = 6000
SEED = 5322
FOLD = "\u2424"  # stands for a line break and a space until the text is complete

# Newer Pythons have a strict mode, the default, in which one fault leaves no address at all.
LOOSE = {"strict": False} if "strict" in inspect.signature(getaddresses).parameters else {}

# What the generator makes: a text and the addresses it should give, None for a fault.
Made = Tuple[str, Optional[List[str]]]


def pick(rng: random.Random, *choices: str) -> str:
    return rng.choice(choices)


def maybe(rng: random.Random, chance: float, text: str) -> str:
    return text if rng.random() < chance else ""


def comment(rng: random.Random, depth: int = 0) -> str:
    text = pick(rng, "", "x", "a, b", "c@d", "<e@f>", "\\)", "\\(", '"', "g: h;", "\u00e9", FOLD)
    inner = comment(rng, depth + 1) if depth < 3 and rng.random() < 0.4 else ""
    return f"({text}{inner}{maybe(rng, 0.3, ' y')})"


def space(rng: random.Random) -> str:
    return pick(rng, " ", " ", "  ", "\t", FOLD)


def gap(rng: random.Random, chance: float = 0.15) -> str:
    """White space or comments where RFC 5322 has [CFWS]; mostly nothing."""
    if rng.random() >= chance:
        return ""
    pieces = [maybe(rng, 0.7, space(rng)), maybe(rng, 0.5, comment(rng)), maybe(rng, 0.3, " ")]
    return "".join(pieces)


def atom(rng: random.Random) -> str:
    ascii_atom = pick(rng, "a", "bob", "x1", "o'neil", "me+tag", "_-_", "{}|~", "#1")
    return pick(rng, ascii_atom, ascii_atom, ascii_atom, "J\u00fcrg", "\u4f8b")


def quoted(rng: random.Random) -> Tuple[str, str]:
    """A quoted string and what it says."""
    plain = ["a", "b c", "Doe, J.", "x@y", "<z>", ";:", "d.e", "..", "(", FOLD]
    pieces = [pick(rng, *plain, '\\"', "\\\\", "\\q") for _ in range(rng.randrange(3))]
    text = "".join(pieces)
    said = re.sub(r"\\(.)", r"\1", text.replace(FOLD, " "))
    return f'"{text}"', said


def shortest(said: str) -> str:
    """SAID as a local part, in quotes only when it needs them."""
    if re.fullmatch(r"""[^\s()<>\[\]:;@\\,."]+(\.[^\s()<>\[\]:;@\\,."]+)*""", said):
        return said
    return '"' + re.sub(r'(["\\])', r"\\\1", said) + '"'


def local_part(rng: random.Random) -> Tuple[str, str]:
    words = [
        quoted(rng) if rng.random() < 0.15 else (word, word)
        for word in (atom(rng) for _ in range(rng.choice([1, 1, 1, 2, 3])))
    ]
    text = (gap(rng) + "." + gap(rng)).join(written for written, _ in words)
    return text, shortest(".".join(said for _, said in words))


def domain(rng: random.Random) -> Tuple[str, str]:
    if rng.random() < 0.1:
        inside = pick(rng, "192.0.2.1", "IPv6:2001:db8::1")
        padding = maybe(rng, 0.2, space(rng))
        return f"[{padding}{inside}{padding}]", f"[{inside}]"
    names = ["example", "b\u00fccher", "mail-1", "net", "0"]
    labels = [pick(rng, *names) for _ in range(rng.randrange(1, 4))]
    return (gap(rng, 0.08) + "." + gap(rng, 0.08)).join(labels), ".".join(labels)


def addr_spec(rng: random.Random) -> Tuple[str, str]:
    (written, local), (host, said_host) = local_part(rng), domain(rng)
    return f"{written}{gap(rng)}@{gap(rng)}{host}", f"{local}@{said_host}"


def encoded_word(rng: random.Random) -> str:
    return pick(rng, "=?utf-8?q?J=C3=BCrg?=", "=?UTF-8?B?w4RybmU=?=", "=?iso-8859-1?Q?a=2C_b?=")


def display_name(rng: random.Random) -> str:
    words = [
        rng.choice([atom(rng), quoted(rng)[0], encoded_word(rng), pick(rng, "J.", "R.")])
        for _ in range(rng.randrange(1, 4))
    ]
    return (space(rng) + maybe(rng, 0.1, comment(rng))).join(words)


def mailbox(rng: random.Random) -> Made:
    written, said = addr_spec(rng)
    if rng.random() < 0.5:
        return gap(rng) + written + gap(rng), [said]
    name = maybe(rng, 0.85, display_name(rng) + maybe(rng, 0.8, space(rng)))
    return f"{gap(rng)}{name}<{gap(rng)}{written}{gap(rng)}>{gap(rng)}", [said]


def bare_name(rng: random.Random) -> Made:
    """Words without a domain; only one of them, as that is a local part to both parsers."""
    word = pick(rng, "root", "postmaster", "web.master")
    return f"<{word}>", [word]


def route(rng: random.Random) -> Made:
    hops = ",".join(f"@{domain(rng)[1]}" for _ in range(rng.randrange(1, 3)))
    return f"{display_name(rng)} <{hops}:{addr_spec(rng)[0]}>", None


def element(rng: random.Random) -> Made:
    kind = rng.random()
    if kind < 0.08:
        return gap(rng, 0.5), []
    if kind < 0.11:
        return bare_name(rng)
    return route(rng) if kind < 0.12 else mailbox(rng)


def joined(elements: List[Made]) -> Made:
    said: List[str] = []
    for _, addresses in elements:
        if addresses is None:
            return ",".join(text for text, _ in elements), None
        said += addresses
    return ",".join(text for text, _ in elements), said


def group(rng: random.Random) -> Made:
    text, said = joined([element(rng) for _ in range(rng.randrange(4))])
    return f"{display_name(rng)}{gap(rng)}:{text}{gap(rng)};{gap(rng)}", said


def address_list(rng: random.Random) -> Made:
    return joined(
        [group(rng) if rng.random() < 0.12 else element(rng) for _ in range(rng.randrange(1, 5))]
    )


def damaged(rng: random.Random, text: str) -> str:
    """TEXT with one or two characters lost, added or swapped, or cut short."""
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            text = text[:at] + text[at + 1 :]
        elif kind == 1:
            text = text[:at] + rng.choice('()<>[]:;@\\,." x') + text[at:]
        elif kind == 2:
            before, after = text[max(at - 1, 0) : at], text[at : at + 1]
            text = text[: max(at - 1, 0)] + after + before + text[at + 1 :]
        else:
            text = text[:at]
    return text


def finished(text: str) -> str:
    """Puts line breaks in; a backslash before one would be a quoted CR, which nobody writes."""
    return re.sub(r"\\" + FOLD, r"\\ ", text).replace(FOLD, "\r\n ")


# Rare ones, and what people really write.
BY_HAND = [
    "a@b; c@d", "G: a@b", "G: a@b; c@d", "G: H: a@b;;", ": a@b;", "A <a@b", "a@b (x", 'a@b, "x',
    "a@[b", "a b@c", "a@b <c@d>", "a@b@c", "a\\b@c", "Doe, John <j@d>", "a@", "@b", "A <>",
    "a@[1 2]", "<@x:a@b>", 'John "x" Doe, a@b', '"x@y", <a@b>', '"john"@b', 'a."b c".d@e',
    "a@b\r\n .c", '"a\r\n b"@c', "a@b (x\r\n y)", "", " ", ",,", "undisclosed-recipients:;",
    "a@b (c(d)e)",
]


@dataclass(frozen=True)
class Case:
    """A list, what ours and Python's parser say of it, and what the generator knows."""

    text: str
    known: Optional[Made]
    ours: Optional[List[str]]
    fault: str
    theirs: Optional[List[str]]


def token_at(text: str, at: int, before: str) -> Tuple[str, int]:
    """The letter for the token at AT, and where it ends. BEFORE is the letter before it."""
    c = text[at]
    if c == "(":
        end = comment_end(text, at)
        return ("", end) if end else ("!(", len(text))
    if c == '"':
        match = re.compile(r'"(?:[^"\\]|\\.)*"', re.S).match(text, at)
        return ("w", match.end()) if match else ('!"', len(text))
    if c == "[" and before == "@":
        match = re.compile(r"\[(?:[^\[\]\\]|\\.)*\]", re.S).match(text, at)
        return ("L", match.end()) if match else ("![", len(text))
    match = re.compile(r'[^\s()<>\[\]:;@\\,."]+').match(text, at)
    if match:
        return "w", match.end()
    return ("" if c.isspace() else c), at + 1


def comment_end(text: str, at: int) -> int:
    """The end of the comment at AT; 0 when it has none."""
    depth = 0
    for match in re.compile(r"\\.|[()]", re.S).finditer(text, at):
        depth += {"(": 1, ")": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    return 0


def shape(text: str) -> str:
    """TEXT as a letter per token: "w" a word, "L" a domain literal, "!" what is not closed."""
    letters, at = "", 0
    while at < len(text):
        letter, at = token_at(text, at, letters[-1:])
        letters += letter
    return letters


LOCAL = r"\.*(?:w\.+)*w?"
DOMAIN = f"(?:L|{LOCAL})"
ANGLE = f"<(?:[w.]*|(?=[w.]){LOCAL}@{DOMAIN})>"
ELEMENT = f"(?:[w.]*{ANGLE}|{LOCAL}@{DOMAIN}|[w.]*)"
MEMBER = rf"(?:[w.]+:{ELEMENT}(?:,{ELEMENT})*;|{ELEMENT})"
SHAPE_OF_A_LIST = re.compile(f"{MEMBER}(?:,{MEMBER})*")


def is_list(text: str) -> bool:
    return SHAPE_OF_A_LIST.fullmatch(shape(text)) is not None


def python_says(text: str) -> List[str]:
    """Python's addresses; it also gives an empty one for each empty element."""
    return [address for _, address in getaddresses([text], **LOOSE) if address]


Mend = Callable[[Case], Optional[List[str]]]


@dataclass(frozen=True)
class Difference:
    """A way in which Python differs; MEND undoes just that in Python's answer, if it is there."""

    name: str
    mend: Mend
    why: str


def refused(fault: str, evidence: Callable[[str], object]) -> Mend:
    """Ours found FAULT, and the shape of the text shows that it is there."""

    def mend(case: Case) -> Optional[List[str]]:
        letters = shape(case.text)
        if case.fault == fault and evidence(letters) and not SHAPE_OF_A_LIST.fullmatch(letters):
            return None
        return case.theirs

    return mend


def found(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern).search


def open_angle(letters: str) -> bool:
    return any(not re.compile(ANGLE).match(letters, m.start()) for m in re.finditer("<", letters))


def unfold(text: str) -> str:
    return re.sub(r"[\r\n]", "", text)


def unfolded(case: Case) -> Optional[List[str]]:
    return python_says(unfold(case.text)) if case.ours is not None else case.theirs


QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
ADDRESS = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^"@])+)@([^"]+)', re.S)


def unquoted(text: str) -> str:
    return QUOTED.sub(lambda match: re.sub(r"\\(.)", r"\1", match.group(1), flags=re.S), text)


def each(change: Callable[[str, str], str]) -> Mend:
    """Ours gave addresses; CHANGE mends each of Python's, given as local part and domain."""

    def one(address: str) -> str:
        match = ADDRESS.fullmatch(address)
        return change(*match.groups()) if match else address

    return lambda case: case.theirs if case.theirs is None else [one(a) for a in case.theirs]


def without_literal_space(local: str, host: str) -> str:
    said = re.sub(r"[ \t]", "", host) if host.startswith("[") else host
    return f"{local}@{said}"


def one_quoted_string(local: str, host: str) -> str:
    return f"{shortest(unquoted(local)) if QUOTED.fullmatch(local) else local}@{host}"


def quoted_among_atoms(local: str, host: str) -> str:
    mixed = '"' in local and not QUOTED.fullmatch(local)
    return f"{shortest(unquoted(local)) if mixed else local}@{host}"


def has_both_sides(address: str) -> bool:
    """Whether ADDRESS is one; what is not is for address_fault to refuse."""
    return ADDRESS.fullmatch(address) is not None


def of_names_only(case: Case) -> Optional[List[str]]:
    """Words without a domain, or a domain that is missing: ours for Python's."""
    if case.ours is None or case.theirs is None:
        return case.theirs
    names = {unquoted(match.group()) for match in QUOTED.finditer(unfold(case.text))}
    theirs = [a for a in case.theirs if has_both_sides(a) and a not in names]
    ours = [a for a in case.ours if has_both_sides(a)]
    return case.ours if ours == theirs else case.theirs


DIFFERENCES = [
    Difference(
        "folding", unfolded,
        "Unfolding comes first (RFC 5322 section 2.2.3); Python ends quotes and comments at CR.",
    ),
    Difference(
        "space in a domain literal", each(without_literal_space),
        "FWS within dtext is no part of what it says (section 3.4.1); Python keeps it.",
    ),
    Difference(
        "needless quotes", each(one_quoted_string),
        'Quotes and backslashes are no part of the local part (section 3.2.4): "john"@b is john@b.',
    ),
    Difference(
        "quotes among atoms", each(quoted_among_atoms),
        "Quoted words between dots (section 4.4, obs-local-part) are no Local-part of RFC 5321.",
    ),
    Difference(
        "no domain", of_names_only,
        "Not an addr-spec (section 3.4.1); ours hands it over whole to be refused, Python in part.",
    ),
    Difference(
        "route", refused("a route address", found("<[,@]")),
        "obs-route may be ignored or refused (section 4.4); SMTP has none left, so it is an error.",
    ),
    Difference(
        "several words", refused('several words before an "@"', found(r"ww[w.]*@")),
        "A local part is words joined by dots (section 3.4.1); Python glues them into an address.",
    ),
    Difference(
        "open bracket", refused('a "<" without its address and ">"', open_angle),
        'angle-addr needs one address and ">" (section 3.4); Python takes what there is.',
    ),
    Difference(
        "open comment", refused("a comment that is not closed", found(r"!\(")),
        "A comment needs its end (section 3.2.2): what it swallowed may have been addresses.",
    ),
    Difference(
        "open quote", refused("a quoted string that is not closed", found('!"')),
        "A quoted string needs its end (section 3.2.4): what it swallowed may have been addresses.",
    ),
    Difference(
        "open literal", refused("a domain literal that is not closed", found(r"!\[")),
        "A domain literal needs its end (section 3.4.1); Python closes it itself.",
    ),
    Difference(
        "open group", refused('a group without its ";"', found(":[^;]*$")),
        "A group needs its end (section 3.4): a list that was cut may lack recipients.",
    ),
    Difference(
        "semicolon", refused('a ";" outside a group', found("^[^:;]*;|;[^:;]*;")),
        'Only a group has ";" (section 3.4); Python passes over it.',
    ),
    Difference(
        "text behind a group", refused("text right behind a group", found(";[^,]")),
        "A comma stands between a group and what follows (section 3.4).",
    ),
    Difference(
        "nested group", refused("a group within a group", found(":[^;]*:")),
        "A group holds mailboxes only (section 3.4); Python recurses into it.",
    ),
    Difference(
        "nameless group", refused("a group without a name", found("(^|[^w.]):")),
        'A group begins with its display name (section 3.4); Python skips the ":".',
    ),
    Difference(
        "no grammar", refused("text that belongs to no address", lambda letters: True),
        "Nothing in section 3.4 or 4.4 makes this a list; Python drops bytes until something fits.",
    ),
]


def made_lists() -> List[Tuple[str, Optional[Made]]]:
    """Texts, with what is known of them when they were not damaged."""
    rng = random.Random(SEED)
    lists: List[Tuple[str, Optional[Made]]] = [(text, None) for text in BY_HAND]
    for _ in range(COUNT):
        text, said = address_list(rng)
        if rng.random() < 0.3:
            lists.append((finished(damaged(rng, text)), None))
        else:
            lists.append((finished(text), (text, said)))
    return lists


def ours_of(line: str) -> Tuple[Optional[List[str]], str]:
    answer = json.loads(line)
    addresses = answer.get("addresses")
    if addresses is None:
        return None, answer["fault"]
    return [a.encode("latin-1").decode() for a in addresses], ""


@pytest.fixture(scope="module")
def cases() -> List[Case]:
    program = os.environ.get("ADDRESSES_PROGRAM")
    assert program, "set ADDRESSES_PROGRAM to the program built from tests/unit/addresses.c"
    lists = made_lists()
    run = subprocess.run(
        [program], input=b"".join(text.encode() + b"\0" for text, _ in lists),
        stdout=subprocess.PIPE, check=True, timeout=60,
    )
    lines = run.stdout.decode("ascii").splitlines()
    assert len(lines) == len(lists)
    return [
        Case(text, known, *ours_of(line), python_says(text))
        for (text, known), line in zip(lists, lines)
    ]


def explained(case: Case) -> Tuple[Case, List[str]]:
    """CASE with Python's answer mended, class by class, until both agree; and the classes used."""
    used = []
    for difference in DIFFERENCES:
        if agree(case):
            break
        mended = difference.mend(case)
        if mended != case.theirs:
            used.append(difference.name)
            case = replace(case, theirs=mended)
    return case, used


def agree(case: Case) -> bool:
    """The same addresses, or none from either."""
    ours = None if case.ours is None else [a for a in case.ours if a]
    return (ours or None) == (case.theirs or None)


def test_undamaged_lists_give_their_addresses(cases: List[Case]) -> None:
    known = [case for case in cases if case.known]
    wrong = [case for case in known if case.known and case.ours != case.known[1]]
    assert not wrong, f"{len(wrong)} lists, the first: {wrong[0]}"
    assert len(known) > COUNT / 2


def test_faults_are_found_in_what_is_no_list_and_nowhere_else(cases: List[Case]) -> None:
    wrong = [case for case in cases if is_list(case.text) != (case.ours is not None)]
    assert not wrong, f"{len(wrong)} lists, the first: {wrong[0]}"
    assert sum(case.ours is None for case in cases) > COUNT / 20


def test_every_difference_to_python_is_explained(cases: List[Case]) -> None:
    left = [case for case in cases if not agree(explained(case)[0])]
    assert not left, f"{len(left)} unexplained, the first: {left[0]}, mended: {explained(left[0])}"


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_every_class_is_seen(cases: List[Case], difference: Difference) -> None:
    assert any(difference.name in explained(case)[1] for case in cases), difference.why


def test_many_lists_need_no_explanation(cases: List[Case]) -> None:
    assert sum(agree(case) for case in cases) > COUNT / 3
