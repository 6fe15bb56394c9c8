"""Decode bytes, clean text, and extract the text of web pages."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import Tag
    from charset_normalizer import CharsetMatch

_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16, whose mark is a prefix
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEVEN_BITS = ("iso-2022", "iso2022", "hz", "utf-7")  # they look like ASCII; only used if declared
# The common ones. Without them charset-normalizer takes short French texts for Mac Central European.
_CANDIDATES = [
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("iso8859_2", "iso8859_4", "iso8859_5", "iso8859_7", "koi8_r", "koi8_u"),
    *("cp932", "euc_jis_2004", "gb18030", "big5", "cp949"),
]
_WESTERN_BONUS = 0.03  # cp1252 wins a tie with cp1250 and cp1257
_SAMPLE = 100_000
_PRINTABLE = bytes({*range(0x20, 0x100), *b"\t\n\r\f\x1b"} - {0x7F})

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w:.-]+)|<\?xml[^>]{0,100}encoding=["']([\w:.-]+)"""
    rb"""|\A(?:.*\n)?[#;/*\s-]{1,9}.*coding[:=]\s*([\w.-]+)""",
    re.IGNORECASE,
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Text declared as Latin-1 is often Windows-1252, which has quotation marks in place of control characters.
_WINDOWS = {n: mapped for n in range(0x80, 0xA0) if n != 0x85 and (mapped := bytes([n]).decode("cp1252", "ignore"))}
# Control characters, lone surrogates, byte order marks and soft hyphens break search.
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\ud800-\udfff\ufeff\ufffe\uffff]")


def clean(text: str) -> str:
    """Normalise text: \\n line ends, no invisible characters, NFC. Offsets of chunks refer to the result."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text.translate(_WINDOWS))))


def is_text(sample: bytes) -> bool:
    """Whether the first bytes of a file look like text in some encoding."""
    if any(sample.startswith(mark) for mark, _ in _BYTE_ORDER_MARKS) or _wide_encoding(sample) is not None:
        return True
    stray = len(sample.translate(None, _PRINTABLE))
    return stray <= len(sample) // 100 or (stray == 1 and "\ufffd" not in sample.decode("utf-8", "replace"))


def decode(data: bytes, declared: str = "") -> str | None:
    """Decode a file, or return None for binary data; see `encoding_of`."""
    encoding = encoding_of(data, declared)
    return None if encoding is None else data.decode(encoding, errors="replace")


def encoding_of(data: bytes, declared: str = "") -> str | None:
    """Return the encoding of a text by its byte order mark, as UTF-8, as `declared` or guessed; None if binary."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding
    if wide := _wide_encoding(data):
        return wide
    if declared.lower().startswith(_SEVEN_BITS) and _decodes(data, declared):
        return declared
    if b"\x1b$" in data and _decodes(data, "iso2022_jp_2"):
        return "iso2022_jp_2"
    if not is_text(data):
        return None
    text = data.decode("utf-8", errors="replace")
    # A few bad bytes, as in a truncated file, are still UTF-8.
    if text.count("\ufffd") * 4 <= sum(map(len, re.findall(r"[^\x00-\x7f]+", text))) - text.count("\ufffd"):
        return "utf-8"
    declared = "cp1252" if declared.lower() in {"iso-8859-1", "latin-1", "ascii", "us-ascii"} else declared
    return declared if _decodes(data, declared) else _guess(data)


def declared_encoding(data: bytes) -> str:
    """Return the encoding declared by a web page, an XML file or source code, '' if none is."""
    found = _DECLARED.search(data[:4096])
    return next(filter(None, found.groups()), b"").decode("ascii", "replace") if found else ""


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        return isinstance(data.decode(encoding), str)
    except (LookupError, UnicodeError):
        return False


def _wide_encoding(data: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 without a byte order mark by the positions of zero bytes."""
    if b"\0" not in data:
        return None
    zeros = [data[offset::4].count(0) for offset in range(4)]
    few = len(data) // 400  # 1 % of every fourth byte
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

    # Only lines with non-ASCII characters distinguish encodings.
    sample = b"\n".join(line for line in data[: 50 * _SAMPLE].split(b"\n") if not line.isascii())[:_SAMPLE]
    guesses = from_bytes(sample, cp_isolation=_CANDIDATES)

    def score(guess: CharsetMatch) -> float:
        western = "cp1252" in [guess.encoding, *guess.could_be_from_charset]
        return guess.coherence - guess.chaos + _WESTERN_BONUS * western

    best = max(guesses, key=score, default=None)
    if best is not None:
        return best.encoding
    # Too little to decide: Western if it is mostly ASCII.
    ascii_share = len(data.translate(None, bytes(range(0x80, 0x100)))) / len(data)
    return "cp1252" if ascii_share > 0.7 else None


# --- web pages ---------------------------------------------------------------------------------------------------

_REMOVED = {"script", "style", "noscript", "template", "nav", "svg", "canvas", "iframe", "object", "audio", "video"}
_PARAGRAPHS = {"p", "table", "ul", "ol", "dl", "blockquote", "section", "article", "header", "footer", "main", "aside"}
_PARAGRAPHS |= {"form", "fieldset", "figure", "details", "title", "body", "pre"}
_LINES = {"div", "li", "tr", "dt", "dd", "caption", "figcaption", "option", "summary", "address", "button", "label"}
_LINES |= {"hr", "legend", "textarea", "center", "td", "th"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
# Placeholders that cannot occur in cleaned text, replaced when the spacing between blocks is known.
_LINE, _PARAGRAPH, _KEPT_SPACE = "\x1e", "\x1d", "\x1f"
_GAP = re.compile(r"[ \n\x1d\x1e]*[\n\x1d\x1e][ \n\x1d\x1e]*")


def html_text(data: bytes, declared: str = "") -> str | None:
    """Return the visible text of a web page with Markdown headings, cells joined by ` | `; None for binary data."""
    from bs4 import BeautifulSoup

    markup = decode(data, declared or declared_encoding(data))
    if markup is None:
        return None
    # With a tag in front, Beautiful Soup does not warn that it might be a file name or XML.
    text = _render(BeautifulSoup(f"<body>{clean(markup)}", "lxml"))
    text = re.sub(r"  +", " ", text)
    text = _GAP.sub(lambda gap: "\n\n" if _PARAGRAPH in gap[0] or gap[0].count("\n") > 1 else "\n", text)
    return text.strip("\n ").replace(_KEPT_SPACE, " ")


def _render(root: Tag) -> str:
    """Return the text below an element, with line breaks around blocks. No recursion, as pages may nest deeply."""
    from bs4.element import NavigableString, PreformattedString, Tag

    out: list[str] = []
    stack: list[object] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Tag):
            before, after = _separators(node)
            if before is None:
                continue
            out.append(before)
            stack.append(after)
            if node.name == "pre":
                out.append(node.get_text().replace(" ", _KEPT_SPACE))
            elif node.name == "tr" and node.find(["table", "pre", *_HEADINGS]) is None:
                cells = (" ".join(_render(cell).split()) for cell in node.find_all(["td", "th"]))
                out.append(" | ".join(cells).rstrip(" |"))
            else:
                stack.extend(reversed(node.contents))
        elif isinstance(node, NavigableString):
            if not isinstance(node, PreformattedString):  # a comment, a doctype
                out.append(re.sub(r"\s+", " ", node))
        else:
            out.append(str(node))
    return "".join(out)


def _separators(tag: Tag) -> tuple[str | None, str]:
    """Return what comes before and after the text of an element; (None, '') omits the element."""
    name = tag.name
    if name in _REMOVED or tag.has_attr("hidden"):
        return None, ""
    if name in _HEADINGS:
        return f"{_PARAGRAPH}{'#' * int(name[1])} ", _LINE
    if name in _PARAGRAPHS:
        return _PARAGRAPH, _PARAGRAPH
    if name == "br":
        return "\n", ""
    return (_LINE, _LINE) if name in _LINES else ("", "")
