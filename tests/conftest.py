"""The whole application on a fresh data folder, with a scripted backend and words for an embedding model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.base import Backend
from options import AnswerOptions
from rag.chat.question import Question
from rag.chat.turns import Turn
from rag.documents.indexing import Read
from rag.documents.loaders import load
from rag.index.embeddings import EmbeddingModel
from rag.schema import LOCAL_OWNER, DocumentRecord, DocumentState
from services import Services
from settings import Settings
from tests.fake_embeddings import WordEmbeddings
from tests.fakes import ScriptedBackend, ScriptedChatModel

PIER = b"# The pier\n\nThe pier at Gannet Holm is 62 metres long. Leo Marsh repaired it in April."


class FakeServices(Services):
    """The services with a scripted backend; `script` is what its model says next."""

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        read: Read = load,  # in this process: the parsers' own tests start processes
        open_embeddings: Callable[[Settings], EmbeddingModel] | None = None,
        backends: Sequence[Callable[[Settings], Backend]] = (),
        script: ScriptedChatModel | None = None,
        **options: Any,
    ) -> None:
        """`settings` and answer `options` that are not the defaults, and more `backends` than the two."""
        answer = AnswerOptions(**{"backend": "scripted"} | options)
        configured = Settings(data_dir=data_dir, answer=answer, **settings or {})
        self.script = script or ScriptedChatModel()
        self.backend = ScriptedBackend(configured, model=self.script, models=("parrot", "owl"))
        self.spare = ScriptedBackend(configured, name="spare", models=("wren",), cannot={"top_k": "It takes none."})
        self.words = WordEmbeddings()
        super().__init__(
            configured,
            [self.backend, self.spare, *(make(configured) for make in backends)],
            open_embeddings=open_embeddings or (lambda settings: self.words),
            read=read,
        )

    def ask(self, text: str, conversation_id: str | None = None, instead_of: str | None = None, **options: Any) -> Turn:
        """Ask with the default options, some of them replaced."""
        asked = Question(text, self.settings.answer.replace(**options), conversation_id, instead_of)
        return self.asking.ask(LOCAL_OWNER, asked)[1]

    def put(self, name: str, content: bytes) -> DocumentRecord:
        """Take a document through to ready or failed."""
        collection = self.library.collection(LOCAL_OWNER, create=True)
        document, _ = self.ingest.submit(LOCAL_OWNER, collection.id, name, content)
        done = self.ingest.process(LOCAL_OWNER, document.id)
        assert done
        return done

    def put_pier(self) -> None:
        """A document that answers how long the pier is."""
        assert self.put("pier.md", PIER).state is DocumentState.READY


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FakeServices]:
    services = FakeServices(tmp_path / "data")
    yield services
    services.close()


@pytest.fixture
def use_fake_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Let a module that opens `Services` open `FakeServices` instead."""

    def replace(module: str, **options: Any) -> None:
        monkeypatch.setattr(f"{module}.Services", lambda settings: FakeServices(tmp_path / "data", **options))

    return replace
