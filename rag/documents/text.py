"""Text out of bytes: which encoding, which characters are worth keeping, and what of a web page is its text.

It must not know of files, of the table of formats or of what becomes of the text.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import Tag
    from charset_normalizer import CharsetMatch

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEVEN_BITS = ("iso-2022", "iso2022", "hz", "utf-7")
"""What looks like plain ASCII and is not; believed where it is declared."""
# What people's files are really in. Left to itself charset-normalizer takes short French for Mac Central Europe.
_CANDIDATES = [
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("iso8859_2", "iso8859_4", "iso8859_5", "iso8859_7", "koi8_r", "koi8_u"),
    *("cp932", "euc_jis_2004", "gb18030", "big5", "cp949"),
]
_WESTERN_BONUS = 0.03
"""cp1252 wins a tie: its letters are a legal text in cp1250 and cp1257 too."""
_SAMPLE = 100_000
_PRINTABLE = bytes({*range(0x20, 0x100), *b"\t\n\r\f\x1b"} - {0x7F})

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w:.-]+)|<\?xml[^>]{0,100}encoding=["']([\w:.-]+)"""
    rb"""|\A(?:.*\n)?[#;/*\s-]{1,9}.*coding[:=]\s*([\w.-]+)""",
    re.IGNORECASE,
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# What Windows means by the control characters of ISO 8859, which nobody writes: a text named Latin-1 has quotes there.
_WINDOWS = {n: mapped for n in range(0x80, 0xA0) if n != 0x85 and (mapped := bytes([n]).decode("cp1252", "ignore"))}
# Control characters, lone surrogates, byte order marks and soft hyphens: nobody sees them, and they break a search.
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\ud800-\udfff\ufeff\ufffe\uffff]")


def clean(text: str) -> str:
    """The text as it is stored: \\n for every line's end, no invisible characters, composed (NFC).

    Offsets of chunks count into this text, so it is made once, where a text comes in.
    """
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text.translate(_WINDOWS))))


def is_text(sample: bytes) -> bool:
    """Whether bytes from the start of a file are text in some encoding, and not binary data."""
    if any(sample.startswith(mark) for mark, _ in _MARKS) or _without_mark(sample) is not None:
        return True
    stray = len(sample.translate(None, _PRINTABLE))
    return stray <= len(sample) // 100 or (stray == 1 and "\ufffd" not in sample.decode("utf-8", "replace"))


def decode(data: bytes, declared: str = "") -> str | None:
    """The text of a file, or None where no encoding makes text of it; see `encoding_of`."""
    encoding = encoding_of(data, declared)
    return None if encoding is None else data.decode(encoding, errors="replace")


def encoding_of(data: bytes, declared: str = "") -> str | None:
    """The encoding of a text, or None where it is binary data.

    A byte order mark decides, then UTF-8, then `declared` (a web page says what it is in), then a guess.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    if wide := _without_mark(data):
        return wide
    if declared.lower().startswith(_SEVEN_BITS) and _decodes(data, declared):
        return declared
    if b"\x1b$" in data and _decodes(data, "iso2022_jp_2"):
        return "iso2022_jp_2"
    if not is_text(data):
        return None
    text = data.decode("utf-8", errors="replace")
    # A few bad bytes (a file cut short in the middle of a character) do not make it another encoding.
    if text.count("\ufffd") * 4 <= sum(map(len, re.findall(r"[^\x00-\x7f]+", text))) - text.count("\ufffd"):
        return "utf-8"
    declared = "cp1252" if declared.lower() in {"iso-8859-1", "latin-1", "ascii", "us-ascii"} else declared
    return declared if _decodes(data, declared) else _guess(data)


def declared_encoding(data: bytes) -> str:
    """What a web page, an XML file or a program says of its own encoding; '' where it says nothing."""
    found = _DECLARED.search(data[:4096])
    return next(filter(None, found.groups()), b"").decode("ascii", "replace") if found else ""


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        return isinstance(data.decode(encoding), str)
    except (LookupError, UnicodeError):
        return False


def _without_mark(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark: the zero bytes stand in step."""
    if b"\0" not in data:
        return None
    zeros = [data[offset::4].count(0) for offset in range(4)]
    few = len(data) // 400  # a hundredth of what stands at one of four places
    if min(zeros[2:]) > len(data) // 5 and zeros[0] <= few:
        encoding = "utf-32-le"
    elif min(zeros[:2]) > len(data) // 5 and zeros[3] <= few:
        encoding = "utf-32-be"
    else:
        even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
        if max(even, odd) < len(data) // 50 or max(even, odd) < 4 * min(even, odd):
            return None
        encoding = "utf-16-le" if odd > even else "utf-16-be"
    text = data[: 4 * _SAMPLE].decode(encoding, errors="replace")[:_SAMPLE]
    strange = sum(c == "\ufffd" or unicodedata.category(c) in {"Cc", "Cn", "Co"} for c in text if c not in "\t\r\n\f")
    return encoding if strange <= len(text) // 50 + 1 else None


def _guess(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    # Only lines with letters beyond ASCII tell encodings apart.
    telling = b"\n".join(line for line in data[: 50 * _SAMPLE].split(b"\n") if not line.isascii())[:_SAMPLE]
    guesses = from_bytes(telling, cp_isolation=_CANDIDATES)

    def score(guess: CharsetMatch) -> float:
        western = "cp1252" in [guess.encoding, *guess.could_be_from_charset]
        return guess.coherence - guess.chaos + _WESTERN_BONUS * western

    best = max(guesses, key=score, default=None)
    if best is not None:
        return best.encoding
    # Too little to go by: Western, where most of it is plain ASCII anyway.
    ascii_share = len(data.translate(None, bytes(range(0x80, 0x100)))) / len(data)
    return "cp1252" if ascii_share > 0.7 else None


# --- web pages ---------------------------------------------------------------------------------------------------

_REMOVED = {"script", "style", "noscript", "template", "nav", "svg", "canvas", "iframe", "object", "audio", "video"}
_PARAGRAPHS = {"p", "table", "ul", "ol", "dl", "blockquote", "section", "article", "header", "footer", "main", "aside"}
_PARAGRAPHS |= {"form", "fieldset", "figure", "details", "title", "body"}
_LINES = {"div", "li", "tr", "dt", "dd", "caption", "figcaption", "option", "summary", "address", "button", "label"}
_LINES |= {"hr", "legend", "textarea", "center", "td", "th"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
# Signs that `clean` lets no text hold, until the spaces between blocks are settled.
_LINE, _PARAGRAPH, _KEPT_SPACE = "\x1e", "\x1d", "\x1f"
_GAP = re.compile(r"[ \n\x1d\x1e]*[\n\x1d\x1e][ \n\x1d\x1e]*")


def html_text(data: bytes, declared: str = "") -> str | None:
    """The text of a web page as a reader sees it, or None where no encoding makes text of it.

    Block elements stand on lines of their own, headings are marked `#` as in Markdown, the cells of a table's row are
    joined with ` | `; scripts, styles, templates and navigation are left out.
    """
    from bs4 import BeautifulSoup

    markup = decode(data, declared or declared_encoding(data))
    if markup is None:
        return None
    # Beginning with a tag keeps the parser from wondering whether this is a file name, or XML.
    text = _rendered(BeautifulSoup(f"<body>{clean(markup)}", "lxml"))
    text = _GAP.sub(
        lambda gap: "\n\n" if _PARAGRAPH in gap[0] or gap[0].count("\n") > 1 else "\n", re.sub(r"  +", " ", text)
    )
    return text.strip("\n ").replace(_KEPT_SPACE, " ")


def _rendered(root: Tag) -> str:
    """The text below an element, with line breaks around its blocks. No recursion: pages nest as deep as they like."""
    from bs4.element import NavigableString, PreformattedString, Tag

    out: list[str] = []
    stack: list[object] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Tag):
            before, after = _frame(node)
            if before is None:
                continue
            out.append(before)
            stack.append(after)
            if node.name == "pre":
                out.append(node.get_text().replace(" ", _KEPT_SPACE))
            elif node.name == "tr" and node.find(["table", "pre", *_HEADINGS]) is None:
                cells = (" ".join(_rendered(cell).split()) for cell in node.find_all(["td", "th"]))
                out.append(" | ".join(cells).rstrip(" |"))
            else:
                stack.extend(reversed(node.contents))
        elif isinstance(node, NavigableString):
            if not isinstance(node, PreformattedString):  # a comment, a doctype
                out.append(re.sub(r"\s+", " ", node))
        else:
            out.append(str(node))
    return "".join(out)


def _frame(tag: Tag) -> tuple[str | None, str]:
    """What stands before and after the text of an element; None before it leaves the element out."""
    name = tag.name
    if name in _REMOVED or tag.has_attr("hidden"):
        return None, ""
    if name in _HEADINGS:
        return f"{_PARAGRAPH}{'#' * int(name[1])} ", _LINE
    if name in _PARAGRAPHS or name == "pre":
        return _PARAGRAPH, _PARAGRAPH
    if name == "br":
        return "\n", ""
    return (_LINE, _LINE) if name in _LINES else ("", "")
