"""The frame around every page: page config, navigation, sidebar. Nothing heavy is imported here."""

import streamlit as st

from ui import errors, sidebar
from ui.app import services

st.set_page_config(page_title="Gestalt", page_icon=":material/auto_stories:", layout="centered")

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
    ]
)

with errors.shown():
    opened = services()
    sidebar.draw(opened)
    page.run()
    opened.warm_up()
