"""Details of an answer: its sentence check, what filled the model's window, and everything that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import streamlit as st

from rag.chat import support
from rag.chat.records import differences
from rag.schema import Ledger, Message, Mode, Part, Verdict
from ui import app
from ui.widgets import dialogs, errors, text

_NAMES = {
    Mode.QUOTED: "Quoted from the documents",
    Mode.WRITTEN: "Written by the model",
    Mode.SUMMARY: "A summary of whole documents",
    Mode.LIST: "A list of everything that was found",
    Mode.LIBRARY: "Answered by Gestalt itself",
    Mode.ABSTAINED: "Not answered",
}
_REFUSED = {"system": "a system message (it stands before the question)", "stream_options": "the count of tokens"}
"""What servers refuse, where its name in the protocol says nothing to people."""
COLORS = {  # legible on light and on dark
    Part.SYSTEM: "#7f8c8d",
    Part.HISTORY: "#8e6bbf",
    Part.PASSAGE: "#2f9e83",
    Part.QUESTION: "#3b82c4",
    Part.ANSWER: "#d9a441",
}


def figures(message: Message) -> str:
    """Model, speed and tokens in a line; empty if nothing was counted."""
    timings, usage = message.timings, message.usage
    if message.route and message.route.verbatim and not message.ledger.shares:
        return f"{_NAMES[message.mode]} · not written by a model · {timings.total_s:.1f} s"
    if not usage.output_tokens or timings.first_token_s is None:
        return ""
    generation_s = max(timings.total_s - timings.first_token_s, 1e-3)
    about = "about " if usage.estimated else ""
    return (
        f"{text.literal(message.model)} · first word after {timings.first_token_s:.1f} s · "
        f"{about}{usage.output_tokens / generation_s:.0f} tokens/s · "
        f"{about}{usage.input_tokens} tokens in, {usage.output_tokens} out"
        + (f", {usage.thought_tokens} of them thoughts" if usage.thought_tokens else "")
    )


def draw(message: Message) -> None:
    """Draw the button that opens the details."""
    if st.button("About this answer", key=f"about-{message.id}", type="tertiary", icon=":material/info:"):
        # Rerun the whole page: a fragment cannot open its dialogs.
        dialogs.ask(_dialog, message.id)
        st.rerun()


@st.dialog("About this answer", width="large", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _dialog(message_id: str) -> None:
    conversations = app.services().conversations
    message = conversations.message(app.owner(), message_id)
    if message is None:
        st.info("There is no such answer. It may have been deleted.", icon=":material/search_off:")
        return
    if message.route:
        st.markdown(f"**How it was answered**\n\n{_NAMES[message.mode]}. {text.literal(message.route.why)}")
        st.caption("“Answer again” below the answer takes another way.")
    if message.checks and not (message.route and message.route.verbatim):
        st.markdown(f"**Sentence check**\n\n{_checked(message)}")
        st.caption(_accuracy())
    if message.ledger.shares:
        st.markdown("**What the model was given**")
        _ledger(message.ledger)
    if record := conversations.record(app.owner(), message_id):
        if left_out := record.get("left_out"):
            refused = ", ".join(_REFUSED.get(name, f"`{name}`") for name in left_out)
            st.caption(f"Sent without what the server refuses for this model: {refused}.")
        _record(record)


def warn(message: Message) -> None:
    """Warn of sentences that no passage supports."""
    unsupported = [check for check in message.checks if check.verdict is Verdict.UNSUPPORTED]
    if not unsupported:
        return
    count, of = len(unsupported), sum(check.verdict is not Verdict.NO_CLAIM for check in message.checks)
    sentences = "This is" if of == 1 else f"{count} of {of} sentences {'is' if count == 1 else 'are'}"
    warning = f"{sentences} not supported by the passages."
    if missing := list(dict.fromkeys(f"“{text.literal(word)}”" for check in unsupported for word in check.missing)):
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        warning += f" {names} {'appears' if len(missing) == 1 else 'appear'} in none of them."
    st.caption(f":material/fact_check: {warning}", help=_accuracy())


def _checked(message: Message) -> str:
    verdicts = [check.verdict for check in message.checks]
    supported, unsupported = verdicts.count(Verdict.SUPPORTED), verdicts.count(Verdict.UNSUPPORTED)
    if not supported + unsupported:
        return "The answer makes no claim that could be checked."
    return f"{supported} of {text.count(supported + unsupported, 'sentence')} supported by a passage."


def _accuracy() -> str:
    measured = support.MEASURED
    return (
        f"The check can be wrong, so read the passage. On {measured.sentences:,} labelled sentences, "
        f"{measured.precision:.0%} of those marked as supported were supported, and {measured.recall:.0%} of the "
        "supported ones were marked."
    )


def _ledger(ledger: Ledger) -> None:
    used = f"{ledger.used:,}" if ledger.exact else f"About {ledger.used:,}"
    if ledger.window:
        st.caption(f"{used} of {ledger.window:,} tokens, {ledger.used / ledger.window:.0%} of the model’s window")
    else:
        st.caption(f"{used} tokens; the size of the model’s window is unknown")
    parts = list(_parts(ledger))
    st.image(_bar(parts), width=480, alt="What fills the model’s window")
    legend = [f':color[■]{{foreground="{color}"}} {name}: {tokens:,} tokens' for name, tokens, color in parts]
    st.markdown("  \n".join(legend))
    if not ledger.exact:
        st.caption("Estimated: the model’s tokenizer is not available.")
    left_out = [
        f"- {one.part.value}: {text.literal(text.short(' '.join(one.label.split()), 80))} ({one.tokens:,} tokens)"
        for one in ledger.shares
        if not one.kept
    ]
    if left_out:
        limit = ledger.prompt_limit
        why = f"this model answers best from prompts of at most {limit:,} tokens" if limit else "its window is full"
        st.markdown(f"Left out, because {why}:")
        st.markdown("\n".join(left_out))


def _parts(ledger: Ledger) -> Iterator[tuple[str, int, str]]:
    """Name, tokens and colour of each part, in the order of the window."""
    for part, color in COLORS.items():
        kept = [share.tokens for share in ledger.shares if share.kept and share.part is part]
        if sum(kept):
            yield f"{len(kept)} passages" if part is Part.PASSAGE and len(kept) > 1 else part.value, sum(kept), color
    if ledger.window and ledger.window > ledger.used:
        yield "free", ledger.window - ledger.used, "#8883"


def _bar(parts: Sequence[tuple[str, int, str]]) -> str:
    """A stacked bar of the parts, as SVG."""
    total, at, drawn = sum(tokens for _, tokens, _ in parts), 0.0, ""
    for _, tokens, color in parts:
        width = 1000 * tokens / total
        drawn += f'<rect x="{at:.1f}" width="{width:.1f}" height="24" fill="{color}"/>'
        at += width
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="24" viewBox="0 0 1000 24">{drawn}</svg>'


def _record(record: dict[str, Any]) -> None:
    with st.expander("Settings and model", icon=":material/tune:"):
        values = {name: value for name, value in record.items() if name != "passages"}
        facts = [{"Name": name, "Value": value} for name, _, value in differences({}, values)]
        st.dataframe(facts, hide_index=True, alt="Settings and model of this answer")
    if passages := record.get("passages"):
        with st.expander("Passages, with their SHA-256", icon=":material/fingerprint:"):
            rows = [{"Passage": each["passage"], "SHA-256": each["sha256"]} for each in passages]
            st.dataframe(rows, hide_index=True, alt="Passages and hashes")
    if prompt := record.get("prompt"):
        with st.expander("The prompt", icon=":material/terminal:"):
            for part in prompt:
                st.caption(part["role"])
                st.code(part["text"], language=None, wrap_lines=True)
    content, icon = json.dumps(record, ensure_ascii=False, indent=1), ":material/download:"
    st.download_button("Download as JSON", content, "answer.json", "application/json", icon=icon, on_click="ignore")
