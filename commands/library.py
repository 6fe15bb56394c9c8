"""Commands for the library: collections, documents and indexes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from commands.terminal import AsJson, emit, open_services, out, progress_bar, progress_bars
from errors import ConfigurationError
from rag.documents.library import DEFAULT_COLLECTION, Submitted
from rag.schema import LOCAL_OWNER, CollectionRecord, DocumentRecord, DocumentState
from services import Services

app = typer.Typer()
collections = typer.Typer()
app.add_typer(collections, name="collections")

AnyCollection = Annotated[str | None, typer.Option("--collection", help="Only in this collection.")]
Document = Annotated[str, typer.Argument(help="Its id, its name, or the end of its path.")]


def _print_result(value: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        emit(value)
    else:
        out.print(sentence, markup=False)


# --- collections ---


@collections.callback(invoke_without_command=True)
def show_collections(context: typer.Context, as_json: AsJson = False) -> None:
    """List, create, rename and delete collections."""
    if context.invoked_subcommand is None:
        list_collections(as_json)


@collections.command("list")
def list_collections(as_json: AsJson = False) -> None:
    """Show all collections."""
    table = Table("collection", "documents", "indexed by", box=None)
    with open_services(as_json) as services:
        for found in services.library.collections(LOCAL_OWNER):
            counts = services.library.counts(LOCAL_OWNER, found.id)
            active = services.indexes.active(LOCAL_OWNER, found.id)
            model = active.embedding_model if active else ""
            if as_json:
                emit({"id": found.id, "name": found.name, "documents": counts, "embedding_model": model})
            else:
                states = ", ".join(f"{number} {state}" for state, number in counts.items())
                table.add_row(escape(found.name), states or "empty", escape(model))
    if not as_json:
        out.print(table)


@collections.command()
def create(name: str, as_json: AsJson = False) -> None:
    """Create a collection, unless there is one of that name."""
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, name, create=True)
        _print_result({"id": found.id, "name": found.name}, f"“{found.name}” exists.", as_json)


@collections.command()
def rename(old: str, new: str, as_json: AsJson = False) -> None:
    """Rename a collection."""
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, old)
        services.library.rename(LOCAL_OWNER, found.id, new)
        _print_result({"id": found.id, "name": new}, f"“{old}” is now called “{new}”.", as_json)


@collections.command("delete")
def delete_collection(
    name: str,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a collection and all of its documents."""
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, name)
        number = sum(services.library.counts(LOCAL_OWNER, found.id).values())
        if not sure and number:
            typer.confirm(f"Delete “{found.name}” with {number} documents?", abort=True, err=True)
        services.ingest.delete_collection(LOCAL_OWNER, found.id)
        _print_result({"id": found.id, "name": found.name, "documents": number}, f"“{found.name}” is deleted.", as_json)


# --- documents ---


def _selected(services: Services, collection: str | None) -> list[CollectionRecord]:
    if collection is None:
        return services.library.collections(LOCAL_OWNER)
    return [services.library.collection(LOCAL_OWNER, collection)]


def _document(services: Services, key: str, collection: str | None) -> DocumentRecord:
    """Return the document with that id, name or end of a path."""
    if document := services.library.document(LOCAL_OWNER, key):
        return document
    found = [
        document
        for record in _selected(services, collection)
        for document in services.library.documents(LOCAL_OWNER, record.id)
        if f"/{document.path or document.name}".endswith(f"/{key}")
    ]
    if not found:
        raise ConfigurationError(f"There is no document “{key}”.", "See: python cli.py documents")
    if len(found) > 1:
        ids = ", ".join(document.id for document in found[:5])
        raise ConfigurationError(f"“{key}” matches {len(found)} documents.", f"Name one by its id: {ids}.")
    return found[0]


@app.command()
def documents(
    collection: AnyCollection = None,
    state: Annotated[DocumentState | None, typer.Option(help="Only in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the documents of one collection or of all, by name."""
    # Never truncate the id, which other commands need.
    name, id_ = Column("document", overflow="fold"), Column("id", min_width=32)
    table = Table(name, "collection", "state", "pages", "chunks", id_, box=None)
    with open_services(as_json) as services:
        for record in _selected(services, collection):
            found = services.library.documents(LOCAL_OWNER, record.id)
            for document in sorted(found, key=lambda d: (d.name.lower(), d.version)):
                if state not in (None, document.state):
                    continue
                if as_json:
                    emit(
                        {"id": document.id, "collection": record.name, "name": document.name, "path": document.path,
                         "version": document.version, "state": document.state, "pages": document.pages,
                         "chunks": document.chunks, "size": document.size, "sha256": document.sha256,
                         "reason": document.reason, "warnings": list(document.warnings),
                         "created": document.created.isoformat()}
                    )  # fmt: skip
                    continue
                numbers = (str(document.pages), str(document.chunks))
                table.add_row(escape(document.title), escape(record.name), document.state, *numbers, document.id)
                for sentence in (document.reason, *document.warnings):
                    if sentence:
                        table.add_row(f"[yellow]  {escape(sentence)}[/]")
    if not as_json:
        out.print(table)


@app.command()
def delete(document: Document, collection: AnyCollection = None, as_json: AsJson = False) -> None:
    """Delete a document and everything derived from it."""
    with open_services(as_json) as services:
        found = _document(services, document, collection)
        services.ingest.delete(LOCAL_OWNER, found.id)
        _print_result({"id": found.id, "name": found.name}, f"“{found.title}” is deleted.", as_json)


@app.command()
def move(
    document: Document,
    target: Annotated[str, typer.Argument(help="The target collection; created if it does not exist.")],
    collection: AnyCollection = None,
    as_json: AsJson = False,
) -> None:
    """Move a document to another collection. If it cannot be read there, it stays where it is, with exit 1."""
    with open_services(as_json) as services, progress_bars(quiet=as_json) as progress:
        found = _document(services, document, collection)
        to = services.library.collection(LOCAL_OWNER, target, create=True)
        outcome = services.ingest.move(LOCAL_OWNER, found.id, to)
        failed = None
        if outcome is not Submitted.DUPLICATE:
            for waiting in services.library.documents(LOCAL_OWNER, to.id):
                if waiting.sha256 == found.sha256:
                    with progress_bar(progress, found.name) as advance:
                        done = services.ingest.process(LOCAL_OWNER, waiting.id, advance)
                    failed = None if done is None or done.state is DocumentState.READY else done.reason
        sentence = f"“{found.title}” is in “{to.name}” now." if failed is None else failed
        _print_result({"name": found.name, "collection": to.name, "reason": failed or ""}, sentence, as_json)
    raise typer.Exit(0 if failed is None else 1)


# --- indexes ---


@app.command()
def index(
    collection: Annotated[str, typer.Option(help="The collection.")] = DEFAULT_COLLECTION,
    model: Annotated[
        str | None, typer.Option(help="An embedding model, as in GESTALT_EMBEDDING_MODEL; default: that one.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show the indexes of the collection.")] = False,
    drop: Annotated[str | None, typer.Option(metavar="FINGERPRINT", help="Remove an index that is not used.")] = None,
    as_json: AsJson = False,
) -> None:
    """Index a collection with another embedding model, while the old index stays in use.

    If it is interrupted, the next call continues. The old index stays until it is dropped.
    """
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, collection)
        if drop is not None:
            if drop not in {known.fingerprint for known in services.indexes.all(LOCAL_OWNER, found.id)}:
                raise ConfigurationError(f"“{found.name}” has no index {drop}.", "See: python cli.py index --list")
            services.indexing.drop_index(LOCAL_OWNER, found, drop)
        elif not show:
            _build(services, found, model or services.settings.embedding_model, as_json)
        _show_indexes(services, found, as_json)


def _build(services: Services, collection: CollectionRecord, model: str, as_json: bool) -> None:
    target = services.indexing.rebuild(LOCAL_OWNER, collection.id, model)
    if target is None:
        raise ConfigurationError(f"“{collection.name}” is empty.", "Add a document to it first.")
    chunks = sum(document.chunks for document in services.library.documents(LOCAL_OWNER, collection.id))
    with progress_bars(quiet=as_json) as progress, progress_bar(progress, model) as advance:
        while services.indexing.rebuild_step():
            advance(services.store.count(collection.id, target.fingerprint) / max(1, chunks))
    active = services.indexes.active(LOCAL_OWNER, collection.id)
    if active is None or active.fingerprint != target.fingerprint:
        raise ConfigurationError(f"“{collection.name}” could not be indexed with {model}.", "The log has the reason.")
    services.search.calibrate()


def _show_indexes(services: Services, collection: CollectionRecord, as_json: bool) -> None:
    table = Table("index", "embedding model", "vectors", "", box=None)
    for known, vectors in services.documents.indexes_of(LOCAL_OWNER, collection.id):
        if as_json:
            emit(
                {"collection": collection.name, "fingerprint": known.fingerprint, "model": known.embedding_model,
                 "active": known.active, "wanted": known.wanted, "vectors": vectors}
            )  # fmt: skip
        else:
            state = "in use" if known.active else "being built" if known.wanted else ""
            table.add_row(escape(known.fingerprint), escape(known.embedding_model), f"{vectors:,}", state)
    if not as_json:
        out.print(table)
