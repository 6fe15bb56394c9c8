"""The main script: page config, navigation and sidebar around every page. Nothing heavy is imported here.

It is not in the folder above `pages/`: Streamlit takes a `pages` folder next to the main script for its older kind of
multipage app, and would then run a page without the sidebar.
"""

import streamlit as st

from ui import app, navigation
from ui.sidebar import layout
from ui.widgets import errors

page = st.navigation(
    [
        st.Page(
            navigation.CHAT,
            title="Chat",
            icon=":material/forum:",
            default=True,
            help="Ask your documents and check the passages behind each answer.",
        ),
        st.Page(
            navigation.DOCUMENTS,
            title="Documents",
            icon=":material/folder_open:",
            help="Add files, watch them being read, and remove them.",
        ),
        st.Page(
            navigation.SEARCH,
            title="Search",
            icon=":material/search:",
            help="See what is found for a question, and why something is not.",
        ),
        st.Page(
            navigation.COMPARE,
            title="Compare",
            icon=":material/compare_arrows:",
            help="Ask two models the same question over the same passages.",
        ),
        st.Page(
            navigation.EVALUATE,
            title="Evaluate",
            icon=":material/analytics:",
            help="Measure how well your documents are found and answered, and compare two configurations.",
        ),
        st.Page(
            navigation.BACKENDS,
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
with errors.error_boundary():
    services = app.services()
    layout.draw(services, chatting=not page.url_path)
    page.run()
    services.warm_up(app.owner())
