"""`cli.py evaluate`: figures for a file of questions, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands import main as cli
from tests.conftest import PIER

QUESTIONS = """question,answers,documents
How long is the pier at Gannet Holm?,62 metres,pier.md
Who repaired the pier?,Leo Marsh|L. Marsh,
,nothing,
Which colour does jealousy have?,,
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(QUESTIONS)
    return path


@pytest.fixture
def shell(use_fake_services: Callable[..., None], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """A shell with the pier in the library; exit code and what was printed."""
    use_fake_services("commands.terminal")

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, [*arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    (tmp_path / "pier.md").write_bytes(PIER)
    assert call("ingest", str(tmp_path / "pier.md"))[0] == 0
    return call


@pytest.fixture
def measure(shell: Callable[..., tuple[int, str]], file: Path) -> Callable[..., tuple[int, Any]]:
    def call(*arguments: str) -> tuple[int, Any]:
        code, printed = shell("evaluate", str(file), *arguments, "--json")
        return code, json.loads(printed)

    return call


def test_a_table_for_people(shell: Callable[..., tuple[int, str]], file: Path) -> None:
    code, printed = shell("evaluate", str(file))
    assert code == 0
    assert "Row 4 is left out: it has no question." in printed
    line = next(line for line in printed.splitlines() if line.strip().startswith("Found first"))
    assert line.split() == "Found first 100 % (22 to 100) 2".split()
    assert "Search in: My documents, Passages: 4, Lexical: on" in printed.replace("\n", " ")
    assert "Kept in" not in printed


def test_an_object_for_scripts(measure: Callable[..., tuple[int, Any]]) -> None:
    steps = {"dense": "false", "neighbours": "1", "fusion": "ranks"}
    code, value = measure("--k", "2", *(f"--retrieval={name}={step}" for name, step in steps.items()))
    assert code == 0
    assert (value["questions"], value["out_of_scope"], value["saved"]) == (3, 1, None)
    assert value["left_out"] == [{"row": 4, "reason": "it has no question"}]
    options = value["configuration"]["options"]
    assert (options["k"], len(options["collection_ids"]), value["configuration"]["answers"]) == (2, 1, False)
    wanted = {"lexical": True, "dense": False, "fusion": "ranks", "neighbours": 1, "reranker": ""}
    assert options["retrieval"].items() >= wanted.items()
    assert value["figures"]["found"].items() >= {"value": 1.0, "high": 1.0, "n": 2}.items()
    assert [result["out_of_scope"] for result in value["results"]] == [False, False, True]


def test_answers_are_measured_on_request(measure: Callable[..., tuple[int, Any]]) -> None:
    code, value = measure("--answers", "--model", "owl", "--no-strict")
    assert code == 0
    assert value["results"][0]["answer"] == "The pier at Gannet Holm is 62 metres long.", "quoted: the model made it up"
    assert value["figures"]["right"]["value"] == 1, "what a user is shown is measured"
    options = value["configuration"]["options"]
    assert (options["backend"], options["model"], options["strict"]) == ("scripted", "owl", False)


def test_a_saved_run_belongs_to_a_question_set(
    measure: Callable[..., tuple[int, Any]], shell: Callable[..., tuple[int, str]], file: Path
) -> None:
    first = measure("--save", "Nightly")[1]
    second = measure("--save", "Nightly", "--retrieval", "lexical=false", "--k", "6")[1]
    assert first["saved"]
    assert first["saved"] != second["saved"]
    assert first["configuration"]["name"] == "As set up"
    assert second["configuration"]["name"] == "Passages: 6, Lexical: off"
    assert "Kept in “Nightly” as “As set up”" in shell("evaluate", str(file), "--save", "Nightly")[1]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--retrieval", "lexical=no", "--retrieval", "dense=no"), "Neither lexical nor dense"),
        (("--retrieval", "distinct=true"), "no such option"),
        (("--retrieval", "dense"), "has no value"),
        (("--collection", "Nowhere"), "Nowhere"),
        (("--answers", "--backend", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_measured_is_an_error(
    measure: Callable[..., tuple[int, Any]], arguments: tuple[str, ...], printed: str
) -> None:
    code, value = measure(*arguments)
    assert code == 1
    assert printed in value["error"]["message"]


def test_an_unreadable_file_is_an_error(shell: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert shell("evaluate", str(tmp_path / "missing.csv"))[0] == 1
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("name\nx\n")
    code, printed = shell("evaluate", str(wrong))
    assert code == 1
    assert "no column “question”" in printed
