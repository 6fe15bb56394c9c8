"""Application settings: environment first, then `.env`, then the defaults here.

Read once at start and frozen. A backend's own settings (server, key, time-outs) live in its own file.
Every name stands in `.env.example` and in `docs/configuration.md`; a test of the house holds that.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import ConfigurationError

S = TypeVar("S", bound=BaseSettings)
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

ROOT = Path(__file__).resolve().parent


class Settings(BaseSettings):
    """What holds for the whole application."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    data_dir: Annotated[Path, Field(validation_alias="GESTALT_DATA_DIR")] = ROOT / "data"
    embedding_model: Annotated[str, Field(validation_alias="GESTALT_EMBEDDING_MODEL")] = "embedded"
    threads: Annotated[int, Field(validation_alias="GESTALT_THREADS", ge=0)] = 0
    """CPU threads for torch; 0 means one per core that the process may use, at most 8."""
    device: Annotated[str, Field(validation_alias="GESTALT_DEVICE")] = "auto"
    """auto, cuda, cuda:N, mps or cpu."""

    max_upload_mb: Annotated[int, Field(validation_alias="GESTALT_MAX_UPLOAD_MB", ge=1)] = 200
    passages: Annotated[int, Field(validation_alias="GESTALT_PASSAGES", ge=1, le=50)] = 4
    """Passages retrieved for a question (k)."""
    chunk_tokens: Annotated[int, Field(validation_alias="GESTALT_CHUNK_TOKENS", ge=32)] = 220
    """Longest chunk in tokens of the embedding model; never more than that model reads."""
    chunk_overlap: Annotated[int, Field(validation_alias="GESTALT_CHUNK_OVERLAP", ge=0)] = 30
    strict: Annotated[bool, Field(validation_alias="GESTALT_STRICT")] = True
    """Answer only from the documents; say so where they hold no answer."""
    log_level: Annotated[LogLevel, BeforeValidator(str.upper), Field(validation_alias="GESTALT_LOG_LEVEL")] = "WARNING"

    backend: Annotated[str, Field(validation_alias="LLM_BACKEND_TYPE")] = "local"
    model: Annotated[str | None, Field(validation_alias="DEFAULT_MODEL_NAME_OR_PATH")] = None
    temperature: Annotated[float, Field(validation_alias="DEFAULT_LLM_TEMPERATURE", ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(validation_alias="DEFAULT_LLM_TOP_P", gt=0, le=1)] = 0.95
    top_k: Annotated[int, Field(validation_alias="DEFAULT_LLM_TOP_K", ge=1)] = 40
    max_new_tokens: Annotated[int, Field(validation_alias="DEFAULT_LLM_MAX_NEW_TOKENS", ge=1)] = 512


def read_settings(kind: type[S]) -> S:
    """Settings of `kind` from the environment.

    Raises:
        ConfigurationError: a value cannot be used; names the variable.
    """
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"The setting {name} cannot be used: {first['msg'].lower()}.", "Correct it in the environment or in .env."
        ) from None


@cache
def get_settings() -> Settings:
    """The application's settings, read on first use.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    return read_settings(Settings)
