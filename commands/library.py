"""Commands for the library: collections, documents and indexes."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column

from commands.terminal import AsJson, fields, listing, open_services, print_result, single_bar
from errors import ConfigurationError
from rag.documents.library import DEFAULT_COLLECTION, Submitted
from rag.schema import LOCAL_OWNER, CollectionRecord, DocumentRecord, DocumentState
from services import Services

app = typer.Typer()
collections = typer.Typer()
app.add_typer(collections, name="collections")

AnyCollection = Annotated[str | None, typer.Option("--collection", help="Only in this collection.")]
Document = Annotated[str, typer.Argument(help="Its id, its name, or the end of its path.")]


# --- collections ---


@collections.callback(invoke_without_command=True)
def show_collections(context: typer.Context, as_json: AsJson = False) -> None:
    """List, create, rename and delete collections."""
    if context.invoked_subcommand is None:
        list_collections(as_json)


@collections.command("list")
def list_collections(as_json: AsJson = False) -> None:
    """Show all collections."""
    with open_services(as_json) as services, listing(as_json, "collection", "documents", "indexed by") as add:
        for found in services.library.collections(LOCAL_OWNER):
            counts = services.library.counts(LOCAL_OWNER, found.id)
            active = services.indexes.active(LOCAL_OWNER, found.id)
            model = active.embedding_model if active else ""
            states = ", ".join(f"{number} {state}" for state, number in counts.items())
            value = {"id": found.id, "name": found.name, "documents": counts, "embedding_model": model}
            add(value, found.name, states or "empty", model)


@collections.command()
def create(name: str, as_json: AsJson = False) -> None:
    """Create a collection, unless there is one of that name."""
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, name, create=True)
        print_result({"id": found.id, "name": found.name}, f"“{found.name}” exists.", as_json)


@collections.command()
def rename(old: str, new: str, as_json: AsJson = False) -> None:
    """Rename a collection."""
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, old)
        services.library.rename(LOCAL_OWNER, found.id, new)
        print_result({"id": found.id, "name": new}, f"“{old}” is now called “{new}”.", as_json)


@collections.command("delete")
def delete_collection(
    name: str, sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False
) -> None:
    """Delete a collection and all of its documents."""
    with open_services(as_json) as services:
        found = services.library.collection(LOCAL_OWNER, name)
        number = sum(services.library.counts(LOCAL_OWNER, found.id).values())
        if not sure and number:
            typer.confirm(f"Delete “{found.name}” with {number} documents?", abort=True, err=True)
        services.ingest.delete_collection(LOCAL_OWNER, found.id)
        print_result({"id": found.id, "name": found.name, "documents": number}, f"“{found.name}” is deleted.", as_json)


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
    columns = Column("document", overflow="fold"), "collection", "state", "pages", "chunks", Column("id", min_width=32)
    keys = "id name path version state pages chunks size sha256 reason".split()
    with open_services(as_json) as services, listing(as_json, *columns) as add:
        for record in _selected(services, collection):
            found = services.library.documents(LOCAL_OWNER, record.id)
            for document in sorted(found, key=lambda d: (d.name.lower(), d.version)):
                if state not in (None, document.state):
                    continue
                value = {**fields(document, *keys), "collection": record.name, "warnings": list(document.warnings)}
                numbers = (str(document.pages), str(document.chunks))
                notes = filter(None, (document.reason, *document.warnings))
                add(
                    value | {"created": document.created.isoformat()},
                    document.title, record.name, document.state, *numbers, document.id, notes=notes,
                )  # fmt: skip


@app.command()
def delete(document: Document, collection: AnyCollection = None, as_json: AsJson = False) -> None:
    """Delete a document and everything derived from it."""
    with open_services(as_json) as services:
        found = _document(services, document, collection)
        services.ingest.delete(LOCAL_OWNER, found.id)
        print_result({"id": found.id, "name": found.name}, f"“{found.title}” is deleted.", as_json)


@app.command()
def move(
    document: Document,
    target: Annotated[str, typer.Argument(help="The target collection; created if it does not exist.")],
    collection: AnyCollection = None,
    as_json: AsJson = False,
) -> None:
    """Move a document to another collection. If it cannot be read there, it stays where it is, with exit 1."""
    with open_services(as_json) as services:
        found = _document(services, document, collection)
        to = services.library.collection(LOCAL_OWNER, target, create=True)
        outcome = services.ingest.move(LOCAL_OWNER, found.id, to)
        failed = None
        if outcome is not Submitted.DUPLICATE:
            for waiting in services.library.documents(LOCAL_OWNER, to.id):
                if waiting.sha256 == found.sha256:
                    with single_bar(found.name, quiet=as_json) as advance:
                        done = services.ingest.process(LOCAL_OWNER, waiting.id, advance)
                    failed = None if done is None or done.state is DocumentState.READY else done.reason
        sentence = f"“{found.title}” is in “{to.name}” now." if failed is None else failed
        print_result({"name": found.name, "collection": to.name, "reason": failed or ""}, sentence, as_json)
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
    with single_bar(model, quiet=as_json) as advance:
        while services.indexing.rebuild_step():
            advance(services.store.count(collection.id, target.fingerprint) / max(1, chunks))
    active = services.indexes.active(LOCAL_OWNER, collection.id)
    if active is None or active.fingerprint != target.fingerprint:
        raise ConfigurationError(f"“{collection.name}” could not be indexed with {model}.", "The log has the reason.")
    services.search.calibrate()


def _show_indexes(services: Services, collection: CollectionRecord, as_json: bool) -> None:
    with listing(as_json, "index", "embedding model", "vectors", "") as add:
        for known, vectors in services.documents.indexes_of(LOCAL_OWNER, collection.id):
            facts = fields(known, "fingerprint", "active", "wanted")
            value = {"collection": collection.name, "model": known.embedding_model, "vectors": vectors, **facts}
            state = "in use" if known.active else "being built" if known.wanted else ""
            add(value, known.fingerprint, known.embedding_model, f"{vectors:,}", state)
