"""Read e-mail, EML and Outlook's MSG, with attachments."""

from __future__ import annotations

import email
import email.policy
import logging
from email.header import decode_header, make_header
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from errors import UnreadableDocument
from rag.documents.input_file import MAX_DEPTH, InputFile, Pages
from rag.documents.text import decode, html_text
from rag.schema import Page

logger = logging.getLogger(__name__)

MAX_ATTACHMENTS = 100
_HEADERS = ("From", "To", "Cc", "Date")
# Attachments that are part of the layout: a logo, a signature.
_DECORATION = ("image/", "application/pkcs7-signature", "application/pgp-signature", "text/calendar")


def read_eml(source: InputFile) -> Pages:
    """Read the message as one page with its subject as heading, then each attachment."""
    data = source.path.read_bytes()
    if b"\0" in data[:4096]:  # saved from an editor in UTF-16
        data = (decode(data) or "").encode()
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not message.keys():
        raise UnreadableDocument(f"{source.name} is not an e-mail.", "Save it again as EML, or as a text file.")
    subject, *headers = (_header(message, name) for name in ("Subject", *_HEADERS))
    if message.get_content_type() in {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}:
        raise UnreadableDocument(
            f"{source.name} is an encrypted message.", "Open it in your mail program and save its text."
        )
    body, files = _parts(message)
    attached = [(_file_name(part), part.get_content_type(), _bytes(part)) for part in files]
    yield from _pages(source, subject, dict(zip(_HEADERS, headers, strict=True)), body, attached)


def read_msg(source: InputFile) -> Pages:
    """Read a message saved by Outlook."""
    from oxmsg import Message

    message = Message.load(str(source.path))
    addresses = (f"{one.name} <{one.email_address}>" for one in message.recipients if one.email_address)
    sender = str(make_header(decode_header(message.sender or "")))
    headers = {"From": sender, "To": "; ".join(addresses), "Date": str(message.sent_date or "")}
    body = message.body or html_text((message.html_body or "").encode()) or ""
    attached = [(file.file_name or "", file.mime_type or "", file.file_bytes) for file in message.attachments]
    yield from _pages(source, message.subject, headers, body, attached)


def _pages(
    source: InputFile, subject: str, headers: dict[str, str], body: str, files: list[tuple[str, str, bytes | None]]
) -> Pages:
    lines = [f"# {subject}"] if subject else []
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    yield Page("\n".join([*lines, "", body.strip()]) if body.strip() or subject else "", label=""), len(files) + 1
    left_out = [(name, kind) for name, kind, _ in files[MAX_ATTACHMENTS:]]
    unread = [name or "one without a name" for name, kind in left_out if not kind.startswith(_DECORATION)]
    for name, kind, data in files[:MAX_ATTACHMENTS]:
        pages = _attachment(source, name, data)
        if not pages and not kind.startswith(_DECORATION):
            unread.append(name or "one without a name")
        for page in pages:
            place = page.label or (f"page {page.number}" if page.number else "")
            yield Page(page.text, label=", ".join(filter(None, (name, place)))), len(files) + 1
    if unread:
        count = "1 attachment was" if len(unread) == 1 else f"{len(unread)} attachments were"
        more = f" and {len(unread) - 10} more" if len(unread) > 10 else ""
        source.warn(f"{count} not read: {', '.join(unread[:10])}{more}.")


def _attachment(source: InputFile, name: str, data: bytes | None) -> list[Page]:
    """Return the pages of an attachment, none if it cannot be read or has no text."""
    if not data or source.depth >= MAX_DEPTH:
        return []
    try:
        pages = [page for page, _ in source.read_nested(data, name or "attachment")]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - readers raise anything; the message itself was read
        logger.info("an attachment was not read: %s", error)
        return []
    return pages if any(page.text.strip() for page in pages) else []


def _header(message: EmailMessage, name: str) -> str:
    """Return a header as text, even a malformed one."""
    try:
        return " ".join(str(message.get(name, "")).split())
    except Exception:  # noqa: BLE001 - the parser raises anything on malformed values
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        return " ".join(str(raw).split())


def _parts(message: EmailMessage) -> tuple[str, list[EmailMessage]]:
    """Return the text that a mail program shows (plain, else HTML), and the attached files."""
    plain, web, files = [], [], []
    waiting: list[Any] = [message]
    while waiting:
        part = waiting.pop()
        kind, charset = part.get_content_type(), str(part.get_content_charset() or "")
        if part.is_multipart() and kind != "message/rfc822":
            waiting += reversed(part.get_payload())
        elif part.is_attachment() or _file_name(part) or not kind.startswith("text/"):
            files.append(part)
        elif kind == "text/html":
            web.append(html_text(_bytes(part) or b"", charset) or "")
        elif kind not in _DECORATION:
            plain.append(decode(_bytes(part) or b"", charset) or "")
    return next((text for text in ("\n\n".join(plain), "\n\n".join(web)) if text.strip()), ""), files


def _file_name(part: EmailMessage) -> str:
    try:
        name = part.get_filename() or ""
    except Exception:  # noqa: BLE001 - as for headers
        name = ""
    if not name and part.get_content_type() == "message/rfc822":
        return "attached message.eml"
    return Path(name.replace("\\", "/")).name


def _bytes(part: EmailMessage) -> bytes | None:
    payload: Any = part.get_payload(decode=True)
    if payload is None and part.is_multipart():
        return b"".join(inner.as_bytes() for inner in part.get_payload() if isinstance(inner, EmailMessage))
    return payload if isinstance(payload, bytes) else None
