"""Why a text was not retrieved: a test for each stage that can lose it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from typing_extensions import override

from options import Fusion, RetrievalOptions
from rag.index.abstention import PRIOR
from rag.index.diagnosis import Diagnosis, Stage, StageReport, diagnose
from rag.index.fusion import Candidates
from rag.index.retriever import HybridRetriever
from tests.small_library import FIRE, PUFFIN, TEXTS, SmallLibrary, small_library


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SmallLibrary]:
    with small_library(tmp_path) as library:
        library.add("c", "d", TEXTS)
        yield library


def ask(library: SmallLibrary, question: str, expected: str, *, k: int = 3, **options: bool) -> Diagnosis:
    retriever = library.retriever("c", options=RetrievalOptions().replace(**options))
    return diagnose([retriever], question, expected, k=k)


def lost(diagnosis: Diagnosis) -> StageReport:
    assert diagnosis.lost is not None
    return diagnosis.lost


def stages(diagnosis: Diagnosis) -> dict[Stage, bool]:
    return {report.stage: report.kept for report in diagnosis.reports}


def test_a_retrieved_text_is_not_lost(library: SmallLibrary) -> None:
    diagnosis = ask(library, "When do puffins breed?", "the cliffs  OF the\nisland")
    assert diagnosis.lost is None
    assert list(stages(diagnosis)) == [
        Stage.READ, Stage.CUT, Stage.DENSE, Stage.WORDS, Stage.FUSION, Stage.THRESHOLD,
    ]  # fmt: skip
    assert diagnosis.reports[0].message == "It is in d.pdf, page 2."
    assert diagnosis.found is not None
    assert diagnosis.found.text == PUFFIN


def test_not_read(library: SmallLibrary) -> None:
    report = lost(ask(library, "When do puffins breed?", "Puffins breed on the cliffs of the mainland in winter"))
    assert report.stage is Stage.READ
    assert "d.pdf, page 2, with" in report.message
    assert "OCR" in report.hint


def test_unknown_words_have_no_nearest_page(library: SmallLibrary) -> None:
    assert "nearest" not in lost(ask(library, "When do puffins breed?", "quantum chromodynamics")).message


@pytest.mark.parametrize("expected", ["", " \n", "?!", "(((", "\ud800"])
def test_any_text_can_be_expected(library: SmallLibrary, expected: str) -> None:
    assert lost(ask(library, "When do puffins breed?", expected)).stage is Stage.READ


def test_cut_apart(library: SmallLibrary) -> None:
    library.add_page("c", "cut", "The key to the boathouse hangs behind the barometer.", [(0, 24), (20, 52)])
    report = lost(ask(library, "Where does the key to the boathouse hang?", "key to the boathouse hangs behind"))
    assert report.stage is Stage.CUT
    assert "2 chunks" in report.message
    assert "adding the neighbours" in report.hint


def test_lost_by_vectors(library: SmallLibrary) -> None:
    # Many chunks are near the question, one has its word.
    library.add("c", "near", [f"alarm drill {n}" for n in range(8)])
    diagnosis = ask(library, "alarm drill alarm drill marigold", FIRE, lexical=False)
    report = lost(diagnosis)
    assert report.stage is Stage.DENSE
    assert report.message.startswith("Rank ")
    assert stages(diagnosis)[Stage.WORDS], "it is switched off"
    assert "would have kept it" in report.hint


def test_lost_by_words(library: SmallLibrary) -> None:
    library.add("c", "near", [f"alarm drill {n}" for n in range(8)])
    report = lost(ask(library, "alarm drill number", FIRE, dense=False))
    assert report.stage is Stage.WORDS
    assert report.message.startswith("It has no word of the question")


@dataclass(frozen=True)
class Scripted(HybridRetriever):
    """Finds scripted candidates."""

    scripted: Candidates = field(kw_only=True)

    @override
    def candidates(self, question: str, *, history: Sequence[str] = (), rewritten: str = "") -> Candidates | None:
        return self.scripted


def test_lost_by_fusion(library: SmallLibrary) -> None:
    # In reciprocal rank fusion two second places score less than a first and a third.
    found = Candidates(
        words={1: 3.0, 3: 2.0, 2: 1.0}, phrases={}, cosines={2: 0.9, 3: 0.8, 1: 0.7}, gate=1.0,
        readable=True, vector=library.embeddings.embed_query("q"), signals={},
    )  # fmt: skip
    plain = library.retriever("c", options=RetrievalOptions(fusion=Fusion.RANKS))
    retriever = Scripted(**vars(plain), scripted=found)
    report = lost(diagnose([retriever], "which code word", FIRE, k=2))
    assert report.stage is Stage.FUSION
    assert report.message == "Rank 3; the model is shown 2 passages."
    assert report.hint.startswith("Showing 3 passages would have kept it.")


def test_lost_by_the_threshold(library: SmallLibrary) -> None:
    retriever = library.retriever("c", calibration=lambda _: replace(PRIOR, threshold=1e9))
    report = lost(diagnose([retriever], "When do puffins breed?", PUFFIN, k=3))
    assert report.stage is Stage.THRESHOLD
    assert "Only from the documents" in report.hint
