"""What a model thinks, apart from what it says."""

from __future__ import annotations

import pytest

from rag.chat.thinking import Thoughts, without_thoughts

SAID = "The ferry leaves at nine. Is 3 < 4? [1]"
ANSWERS = {
    "think": f"<think>\nAt ten?\nNo.</think>\n\n{SAID}",
    "thinking": f"\n\n<Thinking>At ten?\nNo.</Thinking>{SAID}",
    "brackets": f"[THINK]At ten?\nNo.[/THINK]{SAID}",
    "kimi": f"◁think▷At ten?\nNo.◁/think▷{SAID}",
    "without the first mark": f"At ten?\nNo.\n</think>\n\n{SAID}",
}


def read(*pieces: str) -> tuple[str, str]:
    """What is said and what is thought."""
    thoughts, said, thought = Thoughts(), "", ""
    for spoken in (*map(thoughts.read, pieces), thoughts.end()):
        if spoken.all_was_thought:
            said, thought = "", said
        said, thought = said + spoken.said, thought + spoken.thought
    return said, thought


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
def test_marks_may_be_spread_over_pieces(answer: str, size: int) -> None:
    said, thought = read(*(answer[at : at + size] for at in range(0, len(answer), size)))
    assert said.strip() == SAID
    assert thought.split() == ["At", "ten?", "No."]
    assert without_thoughts(answer) == SAID


@pytest.mark.parametrize(
    "answer",
    ["", " ", "<", "<b>Nine</b>", "At nine.", "A page says <think> and no more.", "[1] At nine.", "<thin", "x </thin"],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_an_answer_without_thoughts_is_said_whole(answer: str, size: int) -> None:
    assert read(*(answer[at : at + size] for at in range(0, len(answer), size))) == (answer, "")


def test_thoughts_without_an_end_are_no_answer() -> None:
    assert read("<think>At ten? ", "Or at nine", "</thi") == ("", "At ten? Or at nine</thi")
    assert without_thoughts("<think>At ten?") == ""


def test_only_the_first_end_counts() -> None:
    assert read("<think>Hm.</think>The mark </think> ends thoughts.") == ("The mark </think> ends thoughts.", "Hm.")
