"""Rules of the architecture that no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from backends import BACKENDS
from errors import ConfigurationError
from options import AnswerOptions, RetrievalOptions
from rag.db import Base, Database
from settings import ROOT, EnvironmentSettings, Settings, read_settings

PRODUCT = sorted(
    path.relative_to(ROOT)
    for path in [
        *ROOT.glob("*.py"),
        *(
            file
            for folder in ("backends", "commands", "evaluation", "rag", "services", "ui", "pages")
            for file in (ROOT / folder).rglob("*.py")
        ),
    ]
)
MODULES: dict[str, set[str]] = {
    "errors.py": set(),
    "options.py": {"errors"},
    "settings.py": {"errors", "options"},
    "accelerator.py": {"settings", "errors"},
    "conversion.py": {"errors"},
}
"""What the top-level modules may import of ours; import-linter checks the packages."""


def imports(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def package(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize(("module", "allowed"), MODULES.items())
def test_modules_import_only_what_lies_below_them(module: str, allowed: set[str]) -> None:
    ours = {package(path) for path in PRODUCT}
    assert imports(Path(module)) & ours <= allowed


def test_pages_are_flat_and_a_few_lines_long() -> None:
    pages = list((ROOT / "pages").rglob("*.py"))
    assert all(path.parent == ROOT / "pages" for path in pages)
    assert all(len(path.read_text(encoding="utf-8").splitlines()) <= 10 for path in pages)
    assert all(imports(path) == {"ui"} for path in pages)


def test_there_is_no_utils_module() -> None:
    assert not {path.stem for path in PRODUCT} & {"utils", "util", "helpers", "common", "misc"}


def test_no_backend_is_compared_by_name_outside_its_package() -> None:
    names = "|".join(BACKENDS)
    for path in PRODUCT:
        if package(path) != "backends":
            assert not re.search(rf"""==\s*["']({names})["']""", (ROOT / path).read_text(encoding="utf-8")), path


def setting_names() -> set[str]:
    # Subclasses exist once their module is imported.
    for path in (ROOT / "backends").glob("*.py"):
        import_module(f"backends.{path.stem}")
    kinds: list[type[EnvironmentSettings]] = [EnvironmentSettings]
    for kind in kinds:
        kinds += kind.__subclasses__()
    names = {field.validation_alias for kind in kinds for field in kind.model_fields.values()}
    # Fields without an alias belong to a base class.
    return {str(name) for name in names if name}


@pytest.mark.parametrize("place", [".env.example", "docs/configuration.md"])
def test_every_setting_is_documented(place: str) -> None:
    text = (ROOT / place).read_text(encoding="utf-8")
    documented = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text))
    assert setting_names() <= documented
    prefixes = {name.partition("_")[0] for name in setting_names()}
    assert {name for name in documented if name.partition("_")[0] in prefixes} <= setting_names()


def test_requirements_are_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-models.txt", "constraints.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith(("#", "-")):
                assert "==" in line, f"{name}: {line}"


def test_every_table_has_an_owner_and_its_migration(tmp_path: Path) -> None:
    assert all("owner" in table.columns for table in Base.metadata.tables.values())
    database = Database(tmp_path / "test.db")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_the_first_page_imports_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "chromadb", "sentence_transformers", "langchain_community", "gguf", "pypdf"]
    pages = "ui.app, ui.chat.page, ui.documents.page, ui.sidebar.layout"
    code = f"import sys, {pages}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 0}, "The option “k” cannot be used: input should be greater than or equal to 1."),
        ({"generation": {"top_p": 7}}, "The option “generation.top_p” cannot be used: "),
        ({"horns": 2}, "The option “horns” cannot be used: there is no such option."),
    ],
)
def test_an_invalid_option_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AnswerOptions().replace(**values)


def test_an_error_about_options_as_a_whole_is_a_plain_sentence() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetrievalOptions().replace(lexical=False, dense=False)
    assert caught.value.message == "Neither lexical nor dense search is on."


def test_an_invalid_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_LLM_TOP_P", "7")
    with pytest.raises(ConfigurationError, match="DEFAULT_LLM_TOP_P"):
        read_settings(Settings)
