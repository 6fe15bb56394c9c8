"""Application settings: environment first, then `.env`, then `.streamlit/secrets.toml`, then the defaults here.

Read once at start and frozen. A backend's own settings (server, key, time-outs) live in its own file.
Every name stands in `.env.example` and in `docs/configuration.md`; a test of the house holds that.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasGenerator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from errors import ConfigurationError

S = TypeVar("S", bound=BaseSettings)
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

ROOT = Path(__file__).resolve().parent
SECRETS = ROOT / ".streamlit" / "secrets.toml"


class EnvironmentSettings(BaseSettings):
    """Settings of one part of the application; `validation_alias` is the name that people know."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then `.env`, then Streamlit's file of secrets, read without Streamlit."""
        return init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls, SECRETS)


def prefixed(prefix: str) -> SettingsConfigDict:
    """A configuration that names each field `PREFIX_FIELD`."""
    return SettingsConfigDict(alias_generator=AliasGenerator(validation_alias=lambda name: f"{prefix}_{name.upper()}"))


class Settings(EnvironmentSettings):
    """What holds for the whole application."""

    data_dir: Annotated[Path, Field(validation_alias="GESTALT_DATA_DIR")] = ROOT / "data"
    embedding_model: Annotated[str, Field(validation_alias="GESTALT_EMBEDDING_MODEL")] = "embedded"
    threads: Annotated[int, Field(validation_alias="GESTALT_THREADS", ge=0)] = 0
    """CPU threads for torch; 0 means one per core that the process may use, at most 8."""
    device: Annotated[str, Field(validation_alias="GESTALT_DEVICE")] = "auto"
    """auto, cuda, cuda:N, mps or cpu."""

    max_upload_mb: Annotated[int, Field(validation_alias="GESTALT_MAX_UPLOAD_MB", ge=1)] = 200
    passages: Annotated[int, Field(validation_alias="GESTALT_PASSAGES", ge=1, le=50)] = 4
    """Passages retrieved for a question (k)."""
    support_model: Annotated[str, Field(validation_alias="GESTALT_SUPPORT_MODEL")] = ""
    """A cross-encoder for natural language inference that judges sentences of answers too; empty for none."""
    retrieval: Annotated[dict[str, Any], Field(validation_alias="GESTALT_RETRIEVAL")] = {}
    """Steps of retrieval that are not at their defaults, by name: a `rag.schema.RetrievalOptions`."""
    condense: Annotated[bool, Field(validation_alias="GESTALT_CONDENSE")] = False
    """Let the model rewrite a follow-up before the search: one more call; small models are not asked."""
    chunk_tokens: Annotated[int, Field(validation_alias="GESTALT_CHUNK_TOKENS", ge=32)] = 220
    """Longest chunk in tokens of the embedding model; never more than that model reads."""
    chunk_overlap: Annotated[int, Field(validation_alias="GESTALT_CHUNK_OVERLAP", ge=0)] = 30
    strict: Annotated[bool, Field(validation_alias="GESTALT_STRICT")] = True
    """Answer only from the documents; say so where they hold no answer."""
    log_level: Annotated[LogLevel, BeforeValidator(str.upper), Field(validation_alias="GESTALT_LOG_LEVEL")] = "WARNING"

    backend: Annotated[str, Field(validation_alias="LLM_BACKEND_TYPE")] = "local"
    model: Annotated[str | None, Field(validation_alias="DEFAULT_MODEL_NAME_OR_PATH")] = None
    """The model of that backend; with others the last one used, else the first listed."""
    fallback: Annotated[str | None, Field(validation_alias="LLM_FALLBACK_BACKEND_TYPE")] = None
    """Answers where the chosen backend cannot begin to."""
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, SettingsError):
        raise ConfigurationError(
            ".streamlit/secrets.toml or .env cannot be read.", 'Correct the file: each line is NAME = "value".'
        ) from None
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
