"""The frame around every page: navigation, page config, sidebar. Nothing heavy is imported here."""

from __future__ import annotations

import streamlit as st

from ui import app, errors, sidebar


def draw() -> None:
    """Draw the frame, and in it the page that the address names."""
    page = st.navigation(
        [
            st.Page(
                "pages/talk/chat.py",
                title="Chat",
                icon=":material/forum:",
                default=True,
                help="Ask your documents and check the passages behind each answer.",
            ),
            st.Page(
                "pages/library/documents.py",
                title="Documents",
                icon=":material/folder_open:",
                help="Add files, watch them being read, and remove them.",
            ),
            st.Page(
                "pages/library/search.py",
                title="Search",
                icon=":material/search:",
                help="See what is found for a question, and why something is not.",
            ),
            st.Page(
                "pages/talk/compare.py",
                title="Compare",
                icon=":material/compare_arrows:",
                help="Ask two models the same question, over the same passages.",
            ),
            st.Page(
                "pages/system/evaluate.py",
                title="Evaluate",
                icon=":material/analytics:",
                help="Measure how well your documents are found and answered, and compare two ways to do it.",
            ),
            st.Page(
                "pages/system/backends.py",
                title="Backends",
                icon=":material/dns:",
                help="See which backends answer; load, unload and pull their models.",
            ),
        ]
    )

    st.set_page_config(
        page_title="Gestalt",
        page_icon=":material/auto_stories:",
        # Two answers side by side need the room, and so does a table.
        layout="wide" if page.url_path in ("compare", "documents", "evaluate") else "centered",
    )

    with errors.shown():
        opened = app.services()
        sidebar.draw(opened, chatting=not page.url_path)
        page.run()
        opened.warm_up(app.owner())
