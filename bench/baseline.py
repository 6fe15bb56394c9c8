"""The plain pipeline that most tutorials end with, to measure against: LangChain, Chroma and MiniLM.

Everything is at its default but the device, which is the CPU for both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.index.embeddings import embedded_folder

Place = tuple[str, int | None]
"""A file's name and the page in it, counted from 1; None where there are no pages."""


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
        """All files in one call, which is where this pipeline is quickest; gives the number of chunks."""
        pages = [page for file in files for page in self._loader(file).load()]
        chunks = self._splitter.split_documents(pages)
        self._store.add_documents(chunks)
        return len(chunks)

    def _loader(self, file: Path) -> Any:
        from langchain_community.document_loaders import PyPDFLoader, TextLoader

        return PyPDFLoader(str(file)) if file.suffix == ".pdf" else TextLoader(str(file), encoding="utf-8")

    def search(self, question: str, k: int) -> list[tuple[Place, str]]:
        """The `k` nearest chunks with their places, nearest first."""
        return [(_place(found.metadata), found.page_content) for found in self._store.similarity_search(question, k=k)]

    def close(self) -> None:
        """Nothing is held that the end of the process does not give back."""


def _place(metadata: dict[str, Any]) -> Place:
    page = metadata.get("page")
    return Path(metadata["source"]).name, None if page is None else page + 1
