"""A question that names a document."""

from __future__ import annotations

import pytest

from rag.index.filename_boost import WEIGHT, bonuses

NAMES = {1: "2023 Q3 AMZN.pdf", 2: "2023 Q2 AMZN.pdf", 3: "2023 Q3 AAPL.pdf", 4: "crew_handbook-2.docx"}


def test_the_document_that_is_named_counts_most() -> None:
    worth = bonuses("What did AMZN report in its Q3 2023 filing?", NAMES)
    assert worth[1] == pytest.approx(WEIGHT)
    assert worth[1] > worth[2] > worth[4] == 0
    assert worth[1] > worth[3] > 0


def test_words_that_many_names_have_count_less() -> None:
    worth = bonuses("What happened in 2023 at AAPL?", NAMES)
    assert worth[3] > worth[2] > 0
    assert worth[3] > worth[1] > 0


def test_a_question_that_names_nothing_changes_nothing() -> None:
    assert set(bonuses("How high is the lighthouse?", NAMES).values()) == {0.0}
    assert bonuses("Is it in the crew handbook?", NAMES)[4] > WEIGHT / 2
    assert bonuses("anything", {}) == {}
    assert bonuses("the", {1: "the.txt", 2: ".pdf"}) == {1: 0.0, 2: 0.0}
