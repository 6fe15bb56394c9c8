"""The pipeline of most tutorials as a baseline: LangChain, Chroma and MiniLM, with defaults, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.index.embeddings import embedded_folder

Place = tuple[str, int | None]
"""File name and page, from 1; None if there are no pages."""


class Baseline:
    """PyPDFLoader or TextLoader -> RecursiveCharacterTextSplitter -> HuggingFaceEmbeddings -> Chroma on disk."""

    def __init__(self, folder: Path) -> None:
        from langchain_chroma import Chroma
        from langchain_huggingface import HuggingFaceEmbeddings
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        embeddings = HuggingFaceEmbeddings(model_name=str(embedded_folder()), model_kwargs={"device": "cpu"})
        self._store = Chroma("bench", embedding_function=embeddings, persist_directory=str(folder))
        self._splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=100)

    def ingest(self, files: Sequence[Path]) -> int:
        """Ingest all files in one call, the fastest way for this pipeline; return the number of chunks."""
        pages = [page for file in files for page in self._loader(file).load()]
        chunks = self._splitter.split_documents(pages)
        self._store.add_documents(chunks)
        return len(chunks)

    def _loader(self, file: Path) -> Any:
        from langchain_community.document_loaders import PyPDFLoader, TextLoader

        return PyPDFLoader(str(file)) if file.suffix == ".pdf" else TextLoader(str(file), encoding="utf-8")

    def search(self, question: str, k: int) -> list[tuple[Place, str]]:
        """Return the `k` nearest chunks with their places, nearest first."""
        return [(_place(found.metadata), found.page_content) for found in self._store.similarity_search(question, k=k)]

    def close(self) -> None:
        """Nothing to close."""


def _place(metadata: dict[str, Any]) -> Place:
    page = metadata.get("page")
    return Path(metadata["source"]).name, None if page is None else page + 1
