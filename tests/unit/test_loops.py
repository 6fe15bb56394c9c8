"""Answers in a loop are cut; those with a little repetition are not."""

from __future__ import annotations

import pytest

from rag.chat.loops import loop_end

SHIP = "The Juniper carries 120 people."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"It is 62 metres. {f'{SHIP} ' * 3}", f"It is 62 metres. {SHIP}"),
        (f"It is 62 metres. {f'{SHIP} ' * 43}The Jun", f"It is 62 metres. {SHIP}"),
        ("It is old. " * 20, "It is old."),
        ("No, " * 60, "No"),
        (f"The ships:\n\n- {SHIP}\n- {SHIP}\n- {SHIP}\n", f"The ships:\n\n- {SHIP}"),
        ("Ships:\n" + "".join(f"{n}. {SHIP}\n" for n in range(8, 12)), f"Ships:\n8. {SHIP}"),
        ("".join(f"**{n}.** {SHIP} " for n in range(1, 5)), f"**1.** {SHIP}"),
        ("".join(f"({n}) {SHIP}\n\n" for n in range(1, 4)), f"(1) {SHIP}"),
        ("- The pier is old.\n- Dr. Berg saw 4.5 km of it.\n" * 3, "- The pier is old.\n- Dr. Berg saw 4.5 km of it."),
        ("The boat is old. " + "The pier is old. " * 3, "The boat is old. The pier is old."),
        ("the ship of the line and " * 5, "the ship of the line and"),
        ("Er ist alt und schön. " * 3, "Er ist alt und schön."),
    ],
)
def test_a_loop_is_cut_after_its_first_time(text: str, kept: str) -> None:
    end = loop_end(text)
    assert end is not None
    assert text[:end] == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        f"{SHIP} {SHIP}",
        "No. No. No. Not that one.",
        "| a | b | c |\n| --- | --- | --- |\n| 0 | 0 | 0 |\n| 0 | 0 | 0 |\n",
        "| 0 | 0 | 0 |\n" * 5,
        "The old pier costs 12. The old pier costs 13. The old pier costs 14.",
        "".join(f"{n}. Ship {n} carries {n * 7} people.\n" for n in range(20)),
        f"{SHIP} {SHIP} {SHIP} The pier at Gannet Holm is 62 metres long, and was repaired by Leo Marsh.",
        " ".join(f"word{n}" for n in range(2000)),
    ],
)
def test_a_little_repetition_is_no_loop(text: str) -> None:
    assert loop_end(text) is None


def test_a_loop_at_the_end_of_a_long_text_is_found() -> None:
    before = " ".join(f"word{n}" for n in range(2000)) + ". "
    assert loop_end(before + f"{SHIP} " * 3) == len(before + SHIP)
