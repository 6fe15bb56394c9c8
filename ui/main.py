"""The main script: navigation and sidebar around every page. Imports nothing heavy.

Next to `pages/`, Streamlit would take it for its older kind of multipage app and run a page without the sidebar.
"""

import streamlit as st

from ui import app, navigation
from ui.sidebar import layout
from ui.widgets import errors

PAGES = (
    (navigation.CHAT, "Chat", "forum", "Ask your documents and check the passages behind each answer."),
    (navigation.DOCUMENTS, "Documents", "folder_open", "Add files, follow their progress, and remove them."),
    (navigation.SEARCH, "Search", "search", "See which passages a question finds, and why a text is not found."),
    (navigation.COMPARE, "Compare", "compare_arrows", "Ask two models the same question over the same passages."),
    (navigation.EVALUATE, "Evaluate", "analytics", "Measure search and answers, and compare two configurations."),
    (navigation.MODELS, "Models", "dns", "Add servers of models, see which answer, and load, unload and pull models."),
)

page = st.navigation(
    [
        st.Page(path, title=title, icon=f":material/{icon}:", default=path == navigation.CHAT, help=purpose)
        for path, title, icon, purpose in PAGES
    ]
)
wide = page.url_path in ("compare", "documents", "evaluate")
st.set_page_config(page_title="Gestalt", page_icon=":material/auto_stories:", layout="wide" if wide else "centered")
with errors.error_boundary():
    services = app.services()
    layout.draw(services, chatting=not page.url_path)
    page.run()
    services.warm_up(app.owner())
