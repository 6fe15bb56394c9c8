"""Questions for a set from thumbs up and down."""

from __future__ import annotations

from sqlalchemy import JSON, select
from sqlalchemy.orm import aliased

from evaluation.questions import GoldQuestion, distinct, folded, holds
from rag.db import Database, MessageRow
from rag.schema import Role


def from_thumbs(database: Database, owner: str) -> tuple[GoldQuestion, ...]:
    """The questions whose answers have a thumb, newest first.

    A thumb up brings as gold the sentences that the answer cites, its own text if these contain it, and their
    documents. Not in use are those with a thumb down, and those from mid-conversation, which may not stand alone.
    """
    asked = aliased(MessageRow)
    query = (
        select(MessageRow, asked.text, asked.parent_id)
        .join(asked, asked.id == MessageRow.parent_id)
        .where(MessageRow.owner == owner, asked.owner == owner, asked.role == Role.USER)
        .where(MessageRow.feedback.is_not(None), MessageRow.feedback != JSON.NULL)
        .order_by(MessageRow.created.desc())
    )
    with database.session() as session:
        found = [_question(text, before is None, message) for message, text, before in session.execute(query)]
    return distinct(question for question in found if question.key)


def _question(text: str, first: bool, answer: MessageRow) -> GoldQuestion:
    text = " ".join(text.split())
    if not (answer.feedback and answer.feedback["good"]):
        return GoldQuestion(text, use=False)
    if answer.abstained:
        return GoldQuestion(text, use=first)
    quotes = [" ".join(citation["quote"].split()) for citation in answer.citations]
    own = [answer.text] if folded(answer.text) and any(holds(quote, [answer.text]) for quote in quotes) else []
    answers = tuple(dict.fromkeys(each for each in [*own, *quotes] if folded(each)))
    documents = tuple(dict.fromkeys(citation["document"] for citation in answer.citations))
    return GoldQuestion(text, answers, documents, use=first and bool(answers))
