"""Questions for a set from what a person thought of answers."""

from __future__ import annotations

from sqlalchemy import JSON, select
from sqlalchemy.orm import aliased

from evaluation.questions import GoldQuestion, distinct, folded, holds
from rag.db import Database, MessageRow
from rag.schema import Role


def from_thumbs(database: Database, owner: str) -> tuple[GoldQuestion, ...]:
    """The questions whose answers have a thumb, newest first.

    A good answer gives gold: the sentences of the documents that it cites, its own text where that stands in them, and
    their names; an abstention that was good makes the question an out-of-scope one. A bad answer gives the question, to be filled
    in. What was asked in the middle of a conversation may not stand for itself: it is not used until a person says so.
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


def _question(text: str, opens: bool, answer: MessageRow) -> GoldQuestion:
    text = " ".join(text.split())
    if not (answer.feedback and answer.feedback["good"]):
        return GoldQuestion(text, use=False)
    if answer.abstained:
        return GoldQuestion(text, use=opens)
    quotes = [" ".join(citation["quote"].split()) for citation in answer.citations]
    own = [answer.text] if folded(answer.text) and any(holds(quote, [answer.text]) for quote in quotes) else []
    answers = tuple(dict.fromkeys(each for each in [*own, *quotes] if folded(each)))
    documents = tuple(dict.fromkeys(citation["document"] for citation in answer.citations))
    return GoldQuestion(text, answers, documents, use=opens and bool(answers))
