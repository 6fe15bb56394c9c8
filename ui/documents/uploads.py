"""The way in on the Documents page: files are dropped, and what became of them is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import streamlit as st

from errors import AppError
from rag.documents.library import Submitted
from rag.schema import CollectionRecord, DocumentRecord
from services import Services
from ui.app import owner
from ui.widgets import errors, text

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

READ = (
    "PDF, Word, PowerPoint, Excel, OpenDocument, EPUB, e-mail, web pages, Markdown, text, source code, CSV, JSON, "
    "notebooks, and scans where text recognition is installed."
)
FOLDER_HELP = "Everything in the folder that you choose and in the folders within it; hidden files are left out."
REPLACE_HELP = (
    "A file whose name is here already, but with other content: on, the older one goes when the new one has been read; "
    "off, both stay, and the new one is shown as “(version 2)”."
)
NAMED = 3
"""Files of the same outcome that are called by name."""
MOST_ERRORS = 5
NOTES = "upload_notes"

Outcome = tuple[str, DocumentRecord, Submitted]
"""The name of a file, the document that it is now, and how it came to be one."""


def draw(services: Services, collection: CollectionRecord) -> None:
    """The box for files, and what was said of the last ones."""
    state = st.session_state
    number = state.setdefault("upload_number", 0)
    with st.container(horizontal=True):
        a_folder = st.toggle("A whole folder", key="upload_folder", persist_state="session", help=FOLDER_HELP)
        replace = st.toggle(
            "A new version replaces the old one", key="replace_versions", persist_state="session", help=REPLACE_HELP
        )
    # Of any type: what a file is, its content decides, and one that cannot be read says why.
    files = st.file_uploader(
        "Add files",
        accept_multiple_files="directory" if a_folder else True,
        key=f"upload-{number}",
        max_upload_size=services.settings.max_upload_mb,
        label_visibility="collapsed",
    )
    st.caption(READ)
    if files:
        with st.spinner(f"Taking in {len(files):,} file{'' if len(files) == 1 else 's'}…"):
            state[NOTES] = submit(services, collection, files, replace=replace)
        services.ingest.wake()
        # A new key empties the widget: from here on the files are in the table.
        state["upload_number"] = number + 1
        st.rerun()
    draw_notes()


def draw_notes() -> None:
    """What became of the files that were taken in last."""
    if notes := st.session_state.pop(NOTES, None):
        _say(*notes)


def submit(
    services: Services, collection: CollectionRecord, files: Sequence[UploadedFile], *, replace: bool
) -> tuple[list[Outcome], list[AppError]]:
    """Put files into the queue, all but the hidden ones of a folder."""
    outcomes: list[Outcome] = []
    failed: list[AppError] = []
    for file in files:
        path = PurePosixPath(file.name)  # that within its folder, where a folder was given
        if len(path.parts) > 1 and any(part.startswith(".") for part in path.parts):
            continue
        try:
            content = file.getvalue()
            document, submitted = services.ingest.submit(owner(), collection.id, file.name, content, replace=replace)
            outcomes.append((path.name, document, submitted))
        except AppError as error:
            failed.append(error)
    return outcomes, failed


def _say(outcomes: Sequence[Outcome], failed: Sequence[AppError]) -> None:
    """One line for each kind of outcome, one for each file that could not be taken."""
    kinds: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[_kind(outcome)].append(outcome)
    for kind, same in kinds.items():
        icon, one, many = _LINES[kind]
        names = ", ".join(_told(outcome) for outcome in same[:NAMED])
        rest = f" and {len(same) - NAMED:,} more" if len(same) > NAMED else ""
        st.info(text.literal(f"{names}{rest} {one if len(same) == 1 else many}"), icon=icon)
    for error in failed[:MOST_ERRORS]:
        errors.show(error.message, error.hint)
    if len(failed) > MOST_ERRORS:
        errors.show(f"{len(failed) - MOST_ERRORS:,} more files could not be added.", "Add them in smaller groups.")


def _kind(outcome: Outcome) -> str:
    _, document, submitted = outcome
    return "replaces" if submitted is Submitted.VERSION and document.replaces else submitted.value


def _told(outcome: Outcome) -> str:
    name, document, submitted = outcome
    if submitted is Submitted.DUPLICATE and document.name != name:
        return f"“{name}”, which is “{document.title}”,"
    return f"“{document.title}”"


_LINES = {
    "new": (":material/check:", "was added.", "were added."),
    "duplicate": (
        ":material/content_copy:",
        "is already here; nothing was added.",
        "are already here; nothing was added for them.",
    ),
    "version": (
        ":material/difference:",
        "was added beside the older version.",
        "were added beside their older versions.",
    ),
    "replaces": (
        ":material/published_with_changes:",
        "takes the place of the older version once it has been read.",
        "take the places of their older versions once they have been read.",
    ),
}
"""Icon, and what is said of one file and of several."""
