"""Application settings: environment first, then `.env`, then `.streamlit/secrets.toml`, then the defaults here.

Read once at start and frozen. A backend's own settings (server, key, time-outs) are in its own file. A test checks that
`.env.example` and `docs/configuration.md` list every name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasGenerator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from errors import ConfigurationError
from options import AnswerOptions, GenerationOptions, explain

S = TypeVar("S", bound=BaseSettings)
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

ROOT = Path(__file__).resolve().parent
SECRETS = ROOT / ".streamlit" / "secrets.toml"


class EnvironmentSettings(BaseSettings):
    """Settings of one part of the application; `validation_alias` is the documented name."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        # Without a prefix, a MODEL or K in the environment would be read as the field of that name.
        env_prefix="GESTALT_FIELD_",
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
        """The environment, then `.env`, then Streamlit's secrets file, read without Streamlit."""
        return init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls, SECRETS)


def prefixed(prefix: str) -> SettingsConfigDict:
    """A configuration that names each field `PREFIX_FIELD`."""
    return SettingsConfigDict(alias_generator=AliasGenerator(validation_alias=lambda name: f"{prefix}_{name.upper()}"))


class _GenerationDefaults(GenerationOptions, EnvironmentSettings):
    model_config = EnvironmentSettings.model_config


class _AnswerDefaults(AnswerOptions, EnvironmentSettings):
    model_config = EnvironmentSettings.model_config
    generation: GenerationOptions = Field(
        default_factory=lambda: GenerationOptions.read(dict(read_settings(_GenerationDefaults)))
    )


class Settings(EnvironmentSettings):
    """Settings of the whole application."""

    data_dir: Annotated[Path, Field(validation_alias="GESTALT_DATA_DIR")] = ROOT / "data"
    embedding_model: Annotated[str, Field(validation_alias="GESTALT_EMBEDDING_MODEL")] = "embedded"
    threads: Annotated[int, Field(validation_alias="GESTALT_THREADS", ge=0)] = 0
    """CPU threads for torch; 0 for one per available core, at most 8."""
    device: Annotated[str, Field(validation_alias="GESTALT_DEVICE")] = "auto"
    """auto, cuda, cuda:N, mps or cpu."""

    max_upload_mb: Annotated[int, Field(validation_alias="GESTALT_MAX_UPLOAD_MB", ge=1)] = 200
    answer_seconds: Annotated[float, Field(validation_alias="GESTALT_ANSWER_SECONDS", gt=0)] = 600.0
    """The longest time that a model may take for one answer."""
    callbacks: Annotated[str, Field(validation_alias="GESTALT_CALLBACKS")] = ""
    """LangChain callback handlers for each retrieval and answer: `module:attribute`, separated by commas."""
    retriever: Annotated[str, Field(validation_alias="GESTALT_RETRIEVER")] = ""
    """A LangChain retriever to use instead of the library's own: `module:attribute`."""
    support_model: Annotated[str, Field(validation_alias="GESTALT_SUPPORT_MODEL")] = ""
    """A cross-encoder for natural language inference that also checks answers; empty for none."""
    secret_key: Annotated[SecretStr | None, Field(validation_alias="GESTALT_SECRET_KEY")] = None
    """Encrypts the keys of servers in the database; by default `secret.key` in the data folder does."""
    chunk_tokens: Annotated[int, Field(validation_alias="GESTALT_CHUNK_TOKENS", ge=32)] = 220
    """Longest chunk in tokens of the embedding model, within that model's limit."""
    chunk_overlap: Annotated[int, Field(validation_alias="GESTALT_CHUNK_OVERLAP", ge=0)] = 30
    log_level: Annotated[LogLevel, BeforeValidator(str.upper), Field(validation_alias="GESTALT_LOG_LEVEL")] = "WARNING"

    answer: AnswerOptions = Field(default_factory=lambda: AnswerOptions.read(dict(read_settings(_AnswerDefaults))))
    """The defaults for a question; each option has its own environment variable."""

    def load_callbacks(self) -> list[Any]:
        """The callback handlers; each attribute is an instance or a class. Raises like `load_attribute`."""
        found = [load_attribute(name, "GESTALT_CALLBACKS") for name in self.callbacks.split(",") if name.strip()]
        return [each() if isinstance(each, type) else each for each in found]

    def load_retriever(self) -> Callable[..., Any] | None:
        """What opens a retriever, called with owner, collection ids and options; None for the library's own.

        Raises like `load_attribute`.
        """
        if not self.retriever:
            return None
        found = load_attribute(self.retriever, "GESTALT_RETRIEVER")
        return found if callable(found) else lambda *_: found


def load_attribute(name: str, setting: str) -> Any:
    """Import `module:attribute`. Raises a ConfigurationError that names `setting` if there is none."""
    module, _, attribute = name.strip().partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"The setting {setting} names {name.strip()}, which cannot be imported: {error}.",
            "Write it as module:attribute, and check that the module is installed.",
        ) from None


def read_settings(kind: type[S]) -> S:
    """Settings of `kind` from the environment. Raises a ConfigurationError that names a variable it cannot use."""
    try:
        return kind()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, SettingsError):
        raise ConfigurationError(
            ".streamlit/secrets.toml or .env cannot be read.", 'Correct the file: each line is NAME = "value".'
        ) from None
    except ValidationError as error:
        name, reason = explain(error)
        raise ConfigurationError(
            f"The setting {name} cannot be used: {reason}", "Correct it in the environment or in .env."
        ) from None


def settings_from(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings of `kind` from these values alone, whatever the environment says. Raises ConfigurationError."""

    class Given(kind):  # type: ignore[valid-type, misc]
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)

    try:
        found: S = Given(**values)
    except ValidationError as error:
        name, reason = explain(error)
        raise ConfigurationError(f"The {name.replace('_', ' ')} cannot be used: {reason}", "Correct it.") from None
    return found


@cache
def get_settings() -> Settings:
    """The application's settings, read on first use. Raises ConfigurationError."""
    return read_settings(Settings)
