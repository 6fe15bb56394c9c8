"""The documents of the searched collections and their whole texts, for questions about all of a document or library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select

from rag.db import Database, DocumentRow, PageRow
from rag.index.lexical import LexicalIndex
from rag.schema import DocumentState, Passage

TITLE = 300
"""Characters of a document in which its title is looked for."""


class ListedDocument(NamedTuple):
    """A document of the searched collections; every question makes one of each, so they are cheap to make."""

    id: str
    name: str
    state: DocumentState
    attached: bool = False  # to the conversation, not in the library
    reason: str = ""  # a sentence about why it failed
    reason_type: str = ""  # the class of that error

    @property
    def is_ready(self) -> bool:
        """Whether it can be read."""
        return self.state is DocumentState.READY

    @property
    def stem(self) -> str:
        """Its name without the extension."""
        return self.name.rpartition(".")[0] or self.name


@dataclass(frozen=True, slots=True)
class Contents:
    """An owner's collections and the files attached to a conversation, as documents with whole texts."""

    owner: str
    collection_ids: tuple[str, ...]
    attached_id: str | None
    """The collection of the attached files."""
    database: Database
    lexical: LexicalIndex
    only: frozenset[str] | None = None
    """The ids of the only documents, if the question is about some."""

    @property
    def _ids(self) -> list[str]:
        return [*self.collection_ids, *([self.attached_id] if self.attached_id else [])]

    def documents(self) -> list[ListedDocument]:
        """All documents by name, attached ones first; those that are being deleted are left out."""
        columns = (DocumentRow.id, DocumentRow.name, DocumentRow.state, DocumentRow.collection_id)
        query = select(*columns, DocumentRow.reason, DocumentRow.reason_type).filter_by(owner=self.owner)
        query = query.where(DocumentRow.collection_id.in_(self._ids), DocumentRow.state != DocumentState.DELETING)
        with self.database.session() as session:
            rows = session.execute(query).all()
        states = {state.value: state for state in DocumentState}
        found = [
            ListedDocument(id_, name, states[state], collection_id == self.attached_id, *reason)
            for id_, name, state, collection_id, *reason in rows
            if self.only is None or id_ in self.only
        ]
        return sorted(found, key=lambda document: (not document.attached, document.name.casefold()))

    def titles(self) -> dict[str, str]:
        """The first line of each document, without the marks of a heading, by its id."""
        query = select(PageRow.document_id, func.substr(PageRow.text, 1, TITLE))
        query = query.join(DocumentRow, DocumentRow.id == PageRow.document_id)
        query = query.where(PageRow.owner == self.owner, PageRow.position == 0)
        with self.database.session() as session:
            rows = session.execute(query.where(DocumentRow.collection_id.in_(self._ids))).all()
        return {id_: text.lstrip("# \n").split("\n", 1)[0] for id_, text in rows}

    def pages(self, document_ids: Sequence[str]) -> Iterator[Passage]:
        """The whole pages of documents, document by document; a format without pages has one."""
        query = select(PageRow, DocumentRow.name).join(DocumentRow, DocumentRow.id == PageRow.document_id)
        query = query.where(DocumentRow.collection_id.in_(self._ids)).order_by(PageRow.position)
        for id_ in document_ids:
            with self.database.session() as session:
                rows = session.execute(query.where(PageRow.owner == self.owner, PageRow.document_id == id_)).all()
            for page, name in rows:
                yield Passage(
                    chunk_id=f"{id_}:page {page.position}",
                    document_id=id_,
                    document=name,
                    page=page.number,
                    text=page.text,
                    start=0,
                    end=len(page.text),
                    label=page.label,
                )

    def with_words(self, phrases: Sequence[str]) -> set[str]:
        """The ids of the documents that have at least one of these words or phrases, in any inflection."""
        found = {id_ for one in self._ids for id_ in self.lexical.documents_with(one, phrases)}
        return found if self.only is None else found & self.only
