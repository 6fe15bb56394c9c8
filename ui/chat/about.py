"""What there is to know of an answer beside its text: how it was checked, and what filled the model's window."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rag.chat import support
from rag.chat.records import differences
from rag.schema import Ledger, Message, Part, Verdict
from ui import app
from ui.app import owner
from ui.widgets import dialogs, errors, text

COLORS = {  # to be seen on light and on dark
    Part.SYSTEM: "#7f8c8d",
    Part.HISTORY: "#8e6bbf",
    Part.PASSAGE: "#2f9e83",
    Part.QUESTION: "#3b82c4",
    Part.ANSWER: "#d9a441",
}
FREE = "#8883"


def figures(message: Message) -> str:
    """Model, speed and tokens in a line; '' where nothing was counted."""
    timings, usage = message.timings, message.usage
    if not usage.output_tokens or timings.first_token_s is None:
        return ""
    speaking = max(timings.total_s - timings.first_token_s, 1e-3)
    about = "about " if usage.estimated else ""
    return (
        f"{text.literal(message.model)} · first word after {timings.first_token_s:.1f} s · "
        f"{about}{usage.output_tokens / speaking:.0f} tokens/s · "
        f"{about}{usage.input_tokens} tokens in, {usage.output_tokens} out"
    )


def draw(message: Message) -> None:
    """The way to the checks, the ledger and all that made the answer."""
    if st.button("About this answer", key=f"about-{message.id}", type="tertiary", icon=":material/info:"):
        # The whole page: what stands in a fragment cannot open its dialogs.
        dialogs.ask(_dialog, message.id)
        st.rerun()


@st.dialog("About this answer", width="large", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _dialog(message_id: str) -> None:
    conversations = app.services().conversations
    message = conversations.message(owner(), message_id)
    if message is None:
        st.info("There is no such answer. It may have been deleted.", icon=":material/search_off:")
        return
    if message.checks:
        st.markdown("**How it was checked**")
        st.markdown(checked(message))
        st.caption(how_good())
    if message.ledger.shares:
        st.markdown("**What the model was given**")
        _ledger(message.ledger)
    if record := conversations.record(owner(), message_id):
        _record(record)


# --- checks ---


def warn(message: Message) -> None:
    """Say what of the answer stands in no passage."""
    unsupported = [check for check in message.checks if check.verdict is Verdict.UNSUPPORTED]
    if not unsupported:
        return
    count, of = len(unsupported), sum(check.verdict is not Verdict.NO_CLAIM for check in message.checks)
    said = f"{count} of {of} sentences {'has' if count == 1 else 'have'} no support in the passages."
    if of == 1:
        said = "This has no support in the passages."
    missing = list(dict.fromkeys(word for check in unsupported for word in check.missing))
    if missing:
        names = [f"“{text.literal(word)}”" for word in missing]
        said += f" {_list(names)} {'stands' if len(names) == 1 else 'stand'} in none of them."
    st.caption(f":material/fact_check: {said}", help=how_good())


def checked(message: Message) -> str:
    """How many sentences were found in the passages."""
    verdicts = [check.verdict for check in message.checks]
    supported, unsupported = verdicts.count(Verdict.SUPPORTED), verdicts.count(Verdict.UNSUPPORTED)
    if not supported + unsupported:
        return "It says nothing that could be checked."
    sentences = "sentence" if supported + unsupported == 1 else "sentences"
    return f"{supported} of {supported + unsupported} {sentences} supported by a passage."


def how_good() -> str:
    """What was measured of the check."""
    measured = support.MEASURED
    return (
        f"The check can be wrong, so read the passage. On {measured.sentences:,} labelled sentences "
        f"{measured.precision:.0%} of those marked as supported were, and {measured.recall:.0%} of those that were "
        "supported got the mark."
    )


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# --- the ledger ---


def _ledger(ledger: Ledger) -> None:
    used = f"{ledger.used:,}" if ledger.exact else f"About {ledger.used:,}"
    if ledger.window:
        st.caption(f"{used} of {ledger.window:,} tokens, {ledger.used / ledger.window:.0%} of its window")
    else:
        st.caption(f"{used} tokens; how many the model can take is not known")
    parts = list(_parts(ledger))
    st.image(_bar(parts), width=480, alt="The model’s window, by what it was filled with")
    legend = [f':color[■]{{foreground="{color}"}} {name}: {tokens:,} tokens' for name, tokens, color in parts]
    st.markdown("  \n".join(legend))
    if not ledger.exact:
        st.caption("Estimated: the model’s own way of counting is not known here.")
    left_out = [share for share in ledger.shares if not share.kept]
    if left_out:
        st.markdown("Left out, because the prompt would have become too long for the model:")
        st.markdown(
            "\n".join(
                f"- {share.part.value}: {text.literal(text.short(' '.join(share.label.split()), 80))} "
                f"({share.tokens:,} tokens)"
                for share in left_out
            )
        )


def _parts(ledger: Ledger) -> Iterator[tuple[str, int, str]]:
    """Each part with its tokens and its colour, as they lie in the window."""
    for part, color in COLORS.items():
        kept = [share.tokens for share in ledger.shares if share.kept and share.part is part]
        if sum(kept):
            yield f"{len(kept)} passages" if part is Part.PASSAGE and len(kept) > 1 else part.value, sum(kept), color
    if ledger.window and ledger.window > ledger.used:
        yield "free", ledger.window - ledger.used, FREE


def _bar(parts: Sequence[tuple[str, int, str]]) -> str:
    """The parts beside each other, as an SVG."""
    whole, at, drawn = sum(tokens for _, tokens, _ in parts), 0.0, ""
    for _, tokens, color in parts:
        width = 1000 * tokens / whole
        drawn += f'<rect x="{at:.1f}" width="{width:.1f}" height="24" fill="{color}"/>'
        at += width
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="24" viewBox="0 0 1000 24">{drawn}</svg>'


# --- the record ---


def _record(record: dict[str, Any]) -> None:
    """Everything that made the answer, so that it can be understood and made again."""
    with st.expander("Settings, model and steps of retrieval", icon=":material/tune:"):
        facts = differences({}, {name: value for name, value in record.items() if name != "passages"})
        st.dataframe(
            pd.DataFrame([(name, value) for name, _, value in facts], columns=["Name", "Value"]),
            hide_index=True,
            alt="Settings, model and steps of retrieval of this answer",
        )
    if passages := record.get("passages"):
        with st.expander("Passages, with the SHA-256 of their texts", icon=":material/fingerprint:"):
            rows = [(each["passage"], each["sha256"]) for each in passages]
            st.dataframe(pd.DataFrame(rows, columns=["Passage", "SHA-256"]), hide_index=True, alt="Passages and hashes")
    if prompt := record.get("prompt"):
        with st.expander("The prompt, as it was sent", icon=":material/terminal:"):
            for said in prompt:
                st.caption(said["role"])
                st.code(said["text"], language=None, wrap_lines=True)
    st.download_button(
        "Download as JSON",
        json.dumps(record, ensure_ascii=False, indent=1),
        "answer.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
    )
