"""A dialog that shows a passage on its page: a PDF page as a picture, any other page as text, the place marked.

The places of an answer are its citations in order, then the passages without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from errors import DocumentError, PasswordRequired
from rag.documents.page_image import PageImage
from rag.schema import Citation, DocumentRecord, Message, Page, Passage, Span, Verdict
from services import Services
from ui import app
from ui.app import owner
from ui.documents import preview
from ui.widgets import dialogs, errors, text
from ui.widgets.errors import button

CONTEXT = 300  # characters shown before the place and after its passage; the place stays visible on a phone
_PLACE = "place_shown"
_CLICKS = "source_clicks"
_TARGET = re.compile(r"#source-([0-9a-f]{32})-([0-9a-f]{32})-(\d{1,3})")
_LISTENER = st.components.v2.component(
    "gestalt_source_clicks",
    js="""
const listeners = new WeakMap()

export default function ({ parentElement, setTriggerValue }) {
  const stop = () => document.removeEventListener("click", listeners.get(parentElement), true)
  const listen = event => {
    const link = event.target.closest?.('a[href^="#source-"]')
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    setTriggerValue("clicked", link.getAttribute("href"))
  }
  stop()
  listeners.set(parentElement, listen)
  document.addEventListener("click", listen, true)
  // A click before this was loaded, or a link opened in another tab.
  if (location.hash.startsWith("#source-")) {
    setTriggerValue("clicked", location.hash)
    history.replaceState(history.state, "", location.pathname + location.search)
  }
  return stop
}
""",
)
"""Listens for clicks on the numbers in answers; these are links because Streamlit has no inline button."""


@dataclass(frozen=True, slots=True)
class Place:
    """A passage of an answer, with its citation if it has one."""

    number: int
    passage: Passage
    citation: Citation | None = None

    @property
    def span(self) -> Span:
        """What is marked: offsets into the text of the page."""
        marked = self.citation or self.passage
        return marked.start, marked.end

    @property
    def badge(self) -> str:
        """Markdown that says whether the place supports the answer."""
        if self.citation is None:
            return ""
        if self.citation.answer_end:
            return ":green-badge[:material/check: supports the answer]"
        return ":gray-badge[fits the question]"


def places(message: Message) -> list[Place]:
    """The places of an answer; a citation and its place have the same index."""
    numbered = dict(enumerate(message.passages, 1))
    cited = [Place(citation.n, numbered[citation.n], citation) for citation in message.citations]
    seen = {citation.n for citation in message.citations}
    return cited + [Place(number, passage) for number, passage in numbered.items() if number not in seen]


def show(conversation_id: str, message_id: str, place: int) -> None:
    """Open the dialog at a place of an answer; a callback."""
    st.session_state[_PLACE] = place
    dialogs.ask(_dialog, conversation_id, message_id)


def draw() -> None:
    """End a page with answers: listen for clicks on their numbers, and draw the open dialog."""
    _LISTENER(key=_CLICKS, height=1, on_clicked_change=errors.with_error_boundary(_clicked))
    dialogs.draw()


def _clicked() -> None:
    if found := _TARGET.fullmatch(st.session_state[_CLICKS].clicked or ""):
        show(found[1], found[2], int(found[3]))


@st.dialog("Passage", width="large", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _dialog(conversation_id: str, message_id: str) -> None:
    services = app.services()
    message = services.conversations.message(owner(), message_id)
    found = places(message) if message and message.conversation_id == conversation_id else []
    if message is None or not found:
        st.info("There is no such answer. It may have been deleted.", icon=":material/search_off:")
        return
    index = min(st.session_state.get(_PLACE, 0), len(found) - 1)
    place = found[index]
    _head(place, index, len(found))
    _supports(message, index)
    document = services.library.document(owner(), place.passage.document_id)
    at = services.library.find_page(owner(), place.passage.document_id, place.passage.page, place.passage.label)
    _page(services, place, at[1] if at else None)
    _links(services, document, at[0] if at else 0)


def _head(place: Place, index: int, count: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{place.number} · {text.literal(place.passage.place)}** {place.badge}", width="stretch")
        if count > 1:
            st.caption(f"{index + 1} of {count}", width="content")
            for label, shortcut, step in (("Previous", "Left", -1), ("Next", "Right", 1)):
                to = {_PLACE: (index + step) % count}
                button(label, st.session_state.update, to, key=f"passage-{label.lower()}", shortcut=shortcut)


def _supports(message: Message, index: int) -> None:
    sentences = [
        message.text[check.start : check.end].lstrip("-*•# ")
        for check in message.checks
        if check.verdict is Verdict.SUPPORTED and check.citation == index
    ]
    if sentences:
        st.caption(f"Supports: {' '.join(f'“{text.literal(sentence)}”' for sentence in sentences)}")


def _page(services: Services, place: Place, page: Page | None) -> None:
    picture, why_not = None, ""
    if page is None:
        why_not = "The document was deleted or is being read again. This is the stored passage."
    elif page.number is not None:
        try:
            picture = _picture(services, owner(), place.passage.document_id, page.number, place.span)
        except PasswordRequired:
            why_not = "The file is protected with a password, which is not stored. This is the text of the page."
        except DocumentError as error:
            why_not = f"{error.message} This is the text of the page."
    if why_not:
        st.caption(f":material/info: {text.literal(why_not)}")
    if picture is None:
        _text(place, page)
        return
    left, right = st.columns(2)
    # A key per picture: otherwise the old one would stay until the new one is loaded, with the wrong place marked.
    with left, st.container(key=f"page-{place.number}-{place.span[0]}"):
        st.image(picture.data, width="stretch", alt=f"The page, {place.passage.place}, as a picture")
    with right:
        if not picture.is_marked:
            st.caption(":material/info: The place was not found in the picture; it is marked in the text.")
        _text(place, None)


@st.cache_data(max_entries=64, show_spinner="Drawing the page …")
def _picture(_services: Services, who: str, document_id: str, number: int, span: Span) -> PageImage | None:
    return _services.documents.page_picture(who, document_id, number, [span])


def _text(place: Place, page: Page | None) -> None:
    """The passage with the place marked, and some text around it if the page is known."""
    passage, marked = place.passage, place.span
    available, offset = passage.text, passage.start
    first, last = passage.start, passage.end
    if page and page.text[passage.start : passage.end] == passage.text:
        available, offset = page.text, 0
        first, last = _window(available, marked[0], max(marked[1], passage.end))
    inside, after = max(first, passage.start), min(last, passage.end)
    shown = available[first - offset : last - offset]
    if passage.heading:
        st.caption(text.literal(passage.heading))
    with st.container(border=True):
        spans = [(marked[0] - first, marked[1] - first)] if place.citation else []
        drawn = text.highlighted(shown, spans, faint=[(0, inside - first), (after - first, len(shown))])
        st.markdown(("… " if first > offset else "") + drawn + (" …" if last < offset + len(available) else ""))


def _window(whole: str, start: int, end: int) -> Span:
    """A span with the text around it, cut between words."""
    first, last = max(0, start - CONTEXT), min(len(whole), end + CONTEXT)
    if first and (space := re.search(r"\s", whole[first:start])):
        first += space.end()
    if last < len(whole) and (cut := re.search(r"\s\S*\Z", whole[end:last])):
        last = end + cut.start()
    return first, last


def _links(services: Services, document: DocumentRecord | None, position: int) -> None:
    if document is None:
        return
    with st.container(horizontal=True):
        # Opens a new tab; the address is relative to that of any page.
        address = f"documents?document={document.id}&page={position + 1}"
        st.link_button("Open the document", address, icon=":material/open_in_new:")
        preview.download(services, document)
