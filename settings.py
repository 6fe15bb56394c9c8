"""Application settings: environment first, then `.env`, then `.streamlit/secrets.toml`, then the defaults here.

Read once at start and frozen. A backend's own settings (server, key, time-outs) live in its own file.
Every name stands in `.env.example` and in `docs/configuration.md`; a test of the house holds that.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import import_module
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
from options import AnswerOptions, GenerationOptions, Options, explain

O = TypeVar("O", bound=Options)  # noqa: E741
S = TypeVar("S", bound=BaseSettings)
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

ROOT = Path(__file__).resolve().parent
SECRETS = ROOT / ".streamlit" / "secrets.toml"

_FROM_ENVIRONMENT = SettingsConfigDict(
    env_file=ROOT / ".env",
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    populate_by_name=True,
    # Without a prefix a bare MODEL or K in the environment would be read as the field of that name.
    env_prefix="GESTALT_FIELD_",
)


class EnvironmentSettings(BaseSettings):
    """Settings of one part of the application; `validation_alias` is the name that people know."""

    model_config = _FROM_ENVIRONMENT

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


class _GenerationDefaults(GenerationOptions, EnvironmentSettings):
    model_config = _FROM_ENVIRONMENT


class _AnswerDefaults(AnswerOptions, EnvironmentSettings):
    model_config = _FROM_ENVIRONMENT
    generation: GenerationOptions = Field(default_factory=lambda: _plain(GenerationOptions, _GenerationDefaults))


def _answer_options() -> AnswerOptions:
    return _plain(AnswerOptions, _AnswerDefaults)


def _plain(options: type[O], defaults: type[EnvironmentSettings]) -> O:
    found = read_settings(defaults)
    return options.read({name: getattr(found, name) for name in options.model_fields})


class Settings(EnvironmentSettings):
    """What holds for the whole application."""

    data_dir: Annotated[Path, Field(validation_alias="GESTALT_DATA_DIR")] = ROOT / "data"
    embedding_model: Annotated[str, Field(validation_alias="GESTALT_EMBEDDING_MODEL")] = "embedded"
    threads: Annotated[int, Field(validation_alias="GESTALT_THREADS", ge=0)] = 0
    """CPU threads for torch; 0 means one per core that the process may use, at most 8."""
    device: Annotated[str, Field(validation_alias="GESTALT_DEVICE")] = "auto"
    """auto, cuda, cuda:N, mps or cpu."""

    max_upload_mb: Annotated[int, Field(validation_alias="GESTALT_MAX_UPLOAD_MB", ge=1)] = 200
    answer_seconds: Annotated[float, Field(validation_alias="GESTALT_ANSWER_SECONDS", gt=0)] = 600.0
    """How long a model may go on writing one answer."""
    callbacks: Annotated[str, Field(validation_alias="GESTALT_CALLBACKS")] = ""
    """LangChain callback handlers that see each retrieval and answer: `module:attribute`, separated by commas."""
    support_model: Annotated[str, Field(validation_alias="GESTALT_SUPPORT_MODEL")] = ""
    """A cross-encoder for natural language inference that judges sentences of answers too; empty for none."""
    chunk_tokens: Annotated[int, Field(validation_alias="GESTALT_CHUNK_TOKENS", ge=32)] = 220
    """Longest chunk in tokens of the embedding model; never more than that model reads."""
    chunk_overlap: Annotated[int, Field(validation_alias="GESTALT_CHUNK_OVERLAP", ge=0)] = 30
    log_level: Annotated[LogLevel, BeforeValidator(str.upper), Field(validation_alias="GESTALT_LOG_LEVEL")] = "WARNING"

    answer: AnswerOptions = Field(default_factory=_answer_options)
    """The defaults for a question; each option has its own environment variable."""

    def load_callbacks(self) -> list[Any]:
        """The callback handlers, each an instance or something to call for one.

        Raises:
            ConfigurationError: there is no such module or attribute.
        """
        found = [load_attribute(name, "GESTALT_CALLBACKS") for name in self.callbacks.split(",") if name.strip()]
        return [each() if isinstance(each, type) else each for each in found]


def load_attribute(name: str, setting: str) -> Any:
    """What `module:attribute` names.

    Raises:
        ConfigurationError: there is no such module or attribute; names the setting.
    """
    module, _, attribute = name.strip().partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"The setting {setting} names {name.strip()}, which cannot be imported: {error}.",
            "Write it as module:attribute, and check that the module is installed.",
        ) from None


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
            f"The setting {name} cannot be used: {explain(first)}", "Correct it in the environment or in .env."
        ) from None


@cache
def get_settings() -> Settings:
    """The application's settings, read on first use.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    return read_settings(Settings)
