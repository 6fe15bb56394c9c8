"""Boosting documents whose file name the question mentions."""

from __future__ import annotations

import pytest

from rag.index.filename_boost import WEIGHT, filename_boost

NAMES = {1: "2023 Q3 AMZN.pdf", 2: "2023 Q2 AMZN.pdf", 3: "2023 Q3 AAPL.pdf", 4: "crew_handbook-2.docx"}


def test_the_named_document_gets_the_largest_boost() -> None:
    boosts = filename_boost("What did AMZN report in its Q3 2023 filing?", NAMES)
    assert boosts[1] == pytest.approx(WEIGHT)
    assert boosts[1] > boosts[2] > boosts[4] == 0
    assert boosts[1] > boosts[3] > 0


def test_common_words_of_names_count_less() -> None:
    boosts = filename_boost("What happened in 2023 at AAPL?", NAMES)
    assert boosts[3] > boosts[2] > 0
    assert boosts[3] > boosts[1] > 0


def test_no_boost_if_no_document_is_named() -> None:
    assert set(filename_boost("How high is the lighthouse?", NAMES).values()) == {0.0}
    assert filename_boost("Is it in the crew handbook?", NAMES)[4] > WEIGHT / 2
    assert filename_boost("anything", {}) == {}
    assert filename_boost("the", {1: "the.txt", 2: ".pdf"}) == {1: 0.0, 2: 0.0}
