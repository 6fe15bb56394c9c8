"""How a question is answered: one shape for sidebar, presets, stored chats, evaluations, shell and settings.

A new option is one field here. A field with an alias takes its default from the environment variable of that name (see
`settings.py`); everywhere else fields go by their own names. `backends` and `rag` both read these classes and do not
know each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from errors import ConfigurationError


class Options(BaseModel):
    """Frozen values, checked; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Options from stored values, without those that no longer exist. Raises ConfigurationError."""
        return cls._checked(stored, extra="ignore")

    def replace(self, **values: Any) -> Self:
        """A copy with some values replaced. Raises ConfigurationError, also for an option that does not exist."""
        return self._checked(dict(self) | values, extra="forbid")

    @classmethod
    def _checked(cls, values: Mapping[str, Any], extra: Literal["ignore", "forbid"]) -> Self:
        try:
            return cls.model_validate(dict(values), extra=extra)
        except ValidationError as error:
            name, reason = explain(error)
            message = f"The option “{name}” cannot be used: {reason}" if name else reason[:1].upper() + reason[1:]
            raise ConfigurationError(message, "Correct it.") from None


def explain(error: ValidationError) -> tuple[str, str]:
    """The first field that cannot be used, empty for all of them together, and the end of a sentence about it."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return name, str(first["ctx"]["error"])
    return name, "there is no such option." if first["type"] == "extra_forbidden" else f"{first['msg'].lower()}."


class GenerationOptions(Options):
    """How a model generates; a backend maps these to its own names and declares which it honours."""

    temperature: Annotated[float, Field(validation_alias="DEFAULT_LLM_TEMPERATURE", ge=0, le=2)] = 0.0
    """0 is greedy: always the likeliest token."""
    top_p: Annotated[float, Field(validation_alias="DEFAULT_LLM_TOP_P", gt=0, le=1)] = 0.95
    top_k: Annotated[int, Field(validation_alias="DEFAULT_LLM_TOP_K", ge=1)] = 40
    max_new_tokens: Annotated[int, Field(validation_alias="DEFAULT_LLM_MAX_NEW_TOKENS", ge=1)] = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None


class Fusion(StrEnum):
    """How lexical and dense search are merged into one ranking."""

    SCORES = "scores"  # sum of standardised scores
    RANKS = "ranks"  # reciprocal rank fusion: the sum of `1 / (60 + rank)`


class RetrievalOptions(Options):
    """The steps of retrieval. Those from `fusion` to `filename_boost` are switches for evaluations."""

    lexical: bool = True  # search by words (BM25)
    dense: bool = True  # search by vectors
    fusion: Fusion = Fusion.SCORES
    phrases: bool = True  # score adjacent word pairs too
    lexical_gate: bool = True  # weigh the lexical score by how much of the question the best chunk covers
    history: bool = True  # search earlier questions too, with less weight
    filename_boost: bool = True  # prefer documents that the question names
    merge: bool = True  # merge two retrieved chunks that are adjacent on a page into one passage
    neighbours: Annotated[int, Field(ge=0)] = 0  # chunks to add on each side of a retrieved one
    reranker: str = ""  # “embedded”, or a sentence-transformers CrossEncoder by id or path; empty for none

    @model_validator(mode="after")
    def _searches_something(self) -> Self:
        if not (self.lexical or self.dense):
            raise ValueError("neither lexical nor dense search is on.")
        return self


class Answers(StrEnum):
    """What an answer from passages is made of."""

    AUTOMATIC = "automatic"  # quoted if the model is small, else written
    QUOTED = "quoted"  # the passages' own sentences
    WRITTEN = "written"  # by the model


class AnswerOptions(Options):
    """Everything that decides how a question is answered."""

    backend: Annotated[str, Field(validation_alias="LLM_BACKEND_TYPE")] = "local"
    model: Annotated[str, Field(validation_alias="DEFAULT_MODEL_NAME_OR_PATH")] = ""
    """Empty for the backend's default: the model used last, else the first one listed."""
    fallback: Annotated[str, Field(validation_alias="LLM_FALLBACK_BACKEND_TYPE")] = ""
    """The backend that answers if the first one cannot start to; empty for none."""
    generation: GenerationOptions = GenerationOptions()
    retrieval: Annotated[RetrievalOptions, Field(validation_alias="GESTALT_RETRIEVAL")] = RetrievalOptions()
    collection_ids: tuple[str, ...] | None = None  # the collections to search, by id; None for all
    k: Annotated[int, Field(validation_alias="GESTALT_PASSAGES", ge=1, le=50)] = 4
    """Passages retrieved for a question."""
    answers: Annotated[Answers, Field(validation_alias="GESTALT_ANSWERS")] = Answers.AUTOMATIC
    strict: Annotated[bool, Field(validation_alias="GESTALT_STRICT")] = True
    """Answer from the documents only, and say so if they hold no answer."""
    condense: Annotated[bool, Field(validation_alias="GESTALT_CONDENSE")] = False
    """Have the model rewrite a follow-up question before the search (one more call); small models are not asked."""
    instructions: str = ""  # the user's own instructions to the model
