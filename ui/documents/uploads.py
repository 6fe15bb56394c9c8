"""Uploading files, and the outcome of each."""

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
REPLACE_HELP = (
    "For a file with a known name and new content. On: the old document is removed once the new one is read. Off: both "
    "stay, and the new one is shown as “(version 2)”."
)
NAMED, MOST_ERRORS = 3, 5  # files of one outcome listed by name, and errors shown
NOTES = "upload_notes"
Outcome = tuple[str, DocumentRecord, Submitted]  # of one file, with its name


def draw(services: Services, collection: CollectionRecord) -> None:
    """Draw the upload box, and the outcome of the last upload."""
    state = st.session_state
    number = state.setdefault("upload_number", 0)
    with st.container(horizontal=True):
        purpose = "Upload a folder with all its subfolders; hidden files are skipped."
        a_folder = st.toggle("A whole folder", key="upload_folder", persist_state="session", help=purpose)
        replace = st.toggle(
            "A new version replaces the old one", key="replace_versions", persist_state="session", help=REPLACE_HELP
        )
    # Any type: the content decides, and a file that cannot be read says why.
    files = st.file_uploader(
        "Add files",
        accept_multiple_files="directory" if a_folder else True,
        key=f"upload-{number}",
        max_upload_size=services.settings.max_upload_mb,
        label_visibility="collapsed",
    )
    st.caption(READ)
    if files:
        with st.spinner(f"Adding {text.count(len(files), 'file')} …"):
            state[NOTES] = submit(services, collection, files, replace=replace)
        services.ingest.wake()
        state["upload_number"] = number + 1  # a new key empties the widget
        st.rerun()
    draw_notes()


def draw_notes() -> None:
    """Show the outcome of the last upload, once."""
    if notes := st.session_state.pop(NOTES, None):
        _show(*notes)


def submit(
    services: Services, collection: CollectionRecord, files: Sequence[UploadedFile], *, replace: bool
) -> tuple[list[Outcome], list[AppError]]:
    """Queue files, except the hidden ones of a folder."""
    outcomes: list[Outcome] = []
    failed: list[AppError] = []
    for file in files:
        path = PurePosixPath(file.name)  # with its folders, if a folder was uploaded
        if len(path.parts) > 1 and any(part.startswith(".") for part in path.parts):
            continue
        try:
            content = file.getvalue()
            document, submitted = services.ingest.submit(owner(), collection.id, file.name, content, replace=replace)
            outcomes.append((path.name, document, submitted))
        except AppError as error:
            failed.append(error)
    return outcomes, failed


def _show(outcomes: Sequence[Outcome], failed: Sequence[AppError]) -> None:
    kinds: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[_kind(outcome)].append(outcome)
    for kind, same in kinds.items():
        icon, one, many = _LINES[kind]
        names = ", ".join(_name(outcome) for outcome in same[:NAMED])
        rest = f" and {len(same) - NAMED:,} more" if len(same) > NAMED else ""
        st.info(text.literal(f"{names}{rest} {one if len(same) == 1 else many}"), icon=icon)
    for error in failed[:MOST_ERRORS]:
        errors.show(error.message, error.hint)
    if len(failed) > MOST_ERRORS:
        errors.show(f"{len(failed) - MOST_ERRORS:,} more files could not be added.", "Add them in smaller groups.")


def _kind(outcome: Outcome) -> str:
    _, document, submitted = outcome
    return "replaces" if submitted is Submitted.VERSION and document.replaces else submitted.value


def _name(outcome: Outcome) -> str:
    name, document, submitted = outcome
    if submitted is Submitted.DUPLICATE and document.name != name:
        return f"“{name}”, which is “{document.title}”,"
    return f"“{document.title}”"


_LINES = {
    "new": (":material/check:", "was added.", "were added."),
    "duplicate": (":material/content_copy:", "is already here.", "are already here."),
    "version": (":material/difference:", "was added as a new version.", "were added as new versions."),
    "replaces": (
        ":material/published_with_changes:",
        "replaces the old version once it is read.",
        "replace their old versions once they are read.",
    ),
}
"""Icon and message for one file and for several."""
