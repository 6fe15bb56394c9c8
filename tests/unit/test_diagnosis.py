"""Why was it not found? A test for each stage that can lose a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from options import Fusion, RetrievalOptions
from rag.index.abstention import PRIOR
from rag.index.diagnosis import Diagnosis, Stage, diagnose
from rag.index.fusion import Candidates
from rag.index.retriever import HybridRetriever
from tests.small_library import FIRE, PUFFIN, TEXTS, SmallLibrary, small_library


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SmallLibrary]:
    with small_library(tmp_path) as library:
        library.add("c", "d", TEXTS)
        yield library


def ask(library: SmallLibrary, question: str, expected: str, *, k: int = 3, **options: bool) -> Diagnosis:
    retriever = library.retriever("c")
    retriever.options = replace(RetrievalOptions(), **options)  # type: ignore[arg-type]
    return diagnose([retriever], question, expected, k=k)


def stages(diagnosis: Diagnosis) -> dict[Stage, bool]:
    return {finding.stage: finding.kept for finding in diagnosis.findings}


def test_what_was_found_was_lost_nowhere(library: SmallLibrary) -> None:
    diagnosis = ask(library, "When do puffins breed?", "the cliffs  OF the\nisland")
    assert diagnosis.lost is None
    assert list(stages(diagnosis)) == [
        Stage.READ, Stage.CUT, Stage.DENSE, Stage.WORDS, Stage.FUSION, Stage.THRESHOLD,
    ]  # fmt: skip
    assert diagnosis.expected is not None
    assert diagnosis.expected.place == "d.pdf, page 2"
    assert diagnosis.found is not None
    assert diagnosis.found.text == PUFFIN


def test_not_read(library: SmallLibrary) -> None:
    diagnosis = ask(library, "When do puffins breed?", "Puffins breed on the cliffs of the mainland in winter")
    assert diagnosis.lost is not None
    assert diagnosis.lost.stage is Stage.READ
    assert "d.pdf, page 2, which has" in diagnosis.lost.said
    assert "OCR" in diagnosis.lost.remedy


def test_words_that_stand_nowhere_name_no_nearest(library: SmallLibrary) -> None:
    diagnosis = ask(library, "When do puffins breed?", "quantum chromodynamics")
    assert diagnosis.lost is not None
    assert "nearest" not in diagnosis.lost.said


@pytest.mark.parametrize("expected", ["", " \n", "?!", "(((", "\ud800"])
def test_any_text_can_be_expected(library: SmallLibrary, expected: str) -> None:
    lost = ask(library, "When do puffins breed?", expected).lost
    assert lost is not None
    assert lost.stage is Stage.READ


def test_cut_apart(library: SmallLibrary) -> None:
    library.add_page("c", "cut", "The key to the boathouse hangs behind the barometer.", [(0, 24), (20, 52)])
    diagnosis = ask(library, "Where does the key to the boathouse hang?", "key to the boathouse hangs behind")
    assert diagnosis.lost is not None
    assert diagnosis.lost.stage is Stage.CUT
    assert "2 chunks" in diagnosis.lost.said
    assert "joining the neighbours" in diagnosis.lost.remedy


def test_lost_by_vectors(library: SmallLibrary) -> None:
    # Many chunks have the direction of the question, one has its word.
    library.add("c", "near", [f"alarm drill {n}" for n in range(8)])
    diagnosis = ask(library, "alarm drill alarm drill marigold", FIRE, words=False)
    assert diagnosis.lost is not None
    assert diagnosis.lost.stage is Stage.DENSE
    assert diagnosis.lost.said.startswith("Rank ")
    assert stages(diagnosis)[Stage.WORDS], "it is switched off"
    assert "would have kept it" in diagnosis.lost.remedy


def test_lost_by_words(library: SmallLibrary) -> None:
    library.add("c", "near", [f"alarm drill {n}" for n in range(8)])
    diagnosis = ask(library, "alarm drill number", FIRE, dense=False)
    assert diagnosis.lost is not None
    assert diagnosis.lost.stage is Stage.WORDS
    assert diagnosis.lost.said.startswith("No word of the question")


class Scripted(HybridRetriever):
    """Finds what it is told to."""

    found: Candidates

    @override
    def candidates(self, question: str, *, history: Sequence[str] = (), rewritten: str = "") -> Candidates | None:
        return self.found


def test_lost_by_the_order_of_both(library: SmallLibrary) -> None:
    # By reciprocal ranks a second and a second place are less than a first and a third.
    found = Candidates(
        words={1: 3.0, 3: 2.0, 2: 1.0}, phrases={}, cosines={2: 0.9, 3: 0.8, 1: 0.7}, gate=1.0,
        readable=True, vector=library.embeddings.embed_query("q"), signals={},
    )  # fmt: skip
    fields = {name: getattr(library.retriever("c"), name) for name in HybridRetriever.model_fields}
    retriever = Scripted(**fields | {"options": RetrievalOptions(fusion=Fusion.RANKS), "found": found})
    diagnosis = diagnose([retriever], "which code word", FIRE, k=2)
    assert diagnosis.lost is not None
    assert diagnosis.lost.stage is Stage.FUSION
    assert diagnosis.lost.said == "Rank 3; 2 passages are shown to the model."
    assert diagnosis.lost.remedy.startswith("Showing 3 passages would have kept it.")


def test_lost_by_the_threshold(library: SmallLibrary) -> None:
    retriever = library.retriever("c")
    retriever.calibration = lambda _: replace(PRIOR, threshold=1e9)
    diagnosis = diagnose([retriever], "When do puffins breed?", PUFFIN, k=3)
    assert diagnosis.lost is not None
    assert diagnosis.lost.stage is Stage.THRESHOLD
    assert "Only from the documents" in diagnosis.lost.remedy
