"""The command line: what scripts rely on, and what a person reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from backends import BACKENDS
from settings import ROOT
from tests.conftest import PIER, Rehearsal

QUESTION = "How long is the pier at Gannet Holm?"
Run = Callable[..., tuple[int, list[Any]]]


@pytest.fixture
def run(rehearse: Callable[[str], None]) -> Run:
    """Run a command; its exit code and its JSON lines."""
    rehearse("cli")

    def call(*arguments: str) -> tuple[int, list[Any]]:
        result = CliRunner().invoke(cli.app, [*arguments, "--json"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    (folder / "pier.md").write_bytes(PIER)
    (folder / "sub" / "moon.txt").write_text("The moon is 3474 kilometres wide.")
    (folder / "sub" / "copy.md").write_bytes(PIER)
    (folder / "sub" / ".hidden" / "secret.txt").write_text("secret")
    return folder


def test_ingest_walks_a_folder_and_says_what_became_of_each_file(run: Run, folder: Path) -> None:
    code, lines = run("ingest", str(folder))
    assert code == 0
    assert [(line["file"], line["status"], line["pages"], line["chunks"]) for line in lines] == [
        ("pier.md", "ready", 1, 1),
        ("sub/copy.md", "duplicate", 1, 1),
        ("sub/moon.txt", "ready", 1, 1),
    ]
    assert set(lines[0]) == {"file", "status", "pages", "chunks", "seconds", "reason"}
    assert run("ingest", str(folder / "pier.md")) == (0, [lines[1] | {"file": "pier.md"}])


def test_ingest_fails_with_a_reason_and_goes_on(run: Run, tmp_path: Path) -> None:
    for name, content in (("a.pdf", b"%PDF-1.4 x"), ("b.txt", b""), ("c.bin", b"\0\1\2" * 99), ("d.txt", b"fine")):
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in ("a.pdf", "b.txt", "c.bin", "missing.txt", "d.txt")]
    code, lines = run("ingest", *paths)
    assert code == 1
    assert [line["status"] for line in lines] == ["failed"] * 4 + ["ready"]
    assert all(line["reason"].endswith(".") for line in lines[:4])


def test_ask_gives_one_object(run: Run, folder: Path) -> None:
    run("ingest", str(folder))
    code, [answer] = run("ask", QUESTION)
    assert code == 0
    assert set(answer) >= {
        "answer", "finish", "citations", "passages", "usage", "timings", "backend", "model", "error",
    }  # fmt: skip
    assert (answer["finish"], answer["backend"], answer["model"], answer["error"]) == (
        "complete",
        "scripted",
        "parrot",
        None,
    )
    assert set(answer["citations"][0]) == {"n", "document", "page", "quote", "start", "end"}
    assert answer["citations"][0]["document"] == "pier.md"
    assert set(answer["passages"][0]) == {"document", "page", "text", "score"}
    assert set(answer["usage"]) == {"input_tokens", "output_tokens", "estimated"}
    assert set(answer["timings"]) == {"retrieve_s", "first_token_s", "total_s"}
    code, [answer] = run("ask", QUESTION, "--model", "owl", "--backend", "scripted")
    assert answer["model"] == "owl"


@pytest.mark.parametrize(
    "arguments",
    [("ask", ""), ("ask", "x", "--collection", "missing"), ("ask", "x", "--backend", "nobody")],
)
def test_ask_that_cannot_be_answered_is_an_object_too(run: Run, arguments: tuple[str, ...]) -> None:
    code, [answer] = run(*arguments)
    assert code == 1
    assert answer["finish"] == "failed"
    assert answer["citations"] == []
    assert set(answer["error"]) == {"type", "message", "hint"}


def test_retrieve_one_question_and_a_file_of_them(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", str(folder))
    code, [line] = run("retrieve", QUESTION, "--k", "1")
    assert code == 0
    assert set(line) == {"id", "question", "passages", "refused", "seconds"}
    [passage] = line["passages"]
    assert set(passage) == {"document", "page", "text", "score", "start", "end"}
    assert passage["document"] == "pier.md"
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        json.dumps({"id": 7, "question": "And who repaired it?", "history": [QUESTION]})
        + "\n\n"
        + json.dumps({"id": "foreign", "question": "zebra xylophone"})
    )
    with questions.open("a") as file:
        turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "62 metres."}]
        file.write("\n" + json.dumps({"id": "messages", "question": "And who repaired it?", "history": turns}))
    code, lines = run("retrieve", "--questions", str(questions))
    assert [line["id"] for line in lines] == [7, "foreign", "messages"]
    assert lines[2]["passages"] == lines[0]["passages"]
    assert lines[0]["passages"][0]["document"] == "pier.md"
    assert lines[1]["refused"]
    assert lines[1]["passages"]


@pytest.mark.parametrize(
    "content", ["no json", '{"id": 1}', '{"question": " "}', "[1]", '{"question": "x", "history": [7]}']
)
def test_a_broken_file_of_questions_is_named(run: Run, folder: Path, tmp_path: Path, content: str) -> None:
    run("ingest", str(folder))
    questions = tmp_path / "questions.jsonl"
    questions.write_text(content)
    code, [line] = run("retrieve", "--questions", str(questions))
    assert code == 1
    assert line["error"]["hint"]
    assert run("retrieve")[0] == 1


def test_a_person_gets_sentences(rehearse: Callable[[str], None], folder: Path) -> None:
    rehearse("cli")
    ingest = CliRunner().invoke(cli.app, ["ingest", str(folder)])
    assert "ready" in ingest.stdout
    assert "already in the collection" in ingest.stdout
    ask = CliRunner().invoke(cli.app, ["ask", QUESTION])
    assert "Scripted answer." in ask.stdout
    assert "pier.md" in ask.stdout
    retrieve = CliRunner().invoke(cli.app, ["retrieve", QUESTION])
    assert "62 metres" in retrieve.stdout
    missing = CliRunner().invoke(cli.app, ["ask", "x", "--collection", "[/missing]"])
    assert missing.exit_code == 1
    assert "[/missing]" in missing.stderr


def test_backends_lists_all_and_takes_no_lock(services: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "get_settings", lambda: services.settings)
    for name in ("OLLAMA", "VLLM", "INSTRUCTLAB"):
        monkeypatch.setenv(f"{name}_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_API_KEY", "")
    result = CliRunner().invoke(cli.app, ["backends", "--json"])
    lines = {line["name"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert list(lines) == list(BACKENDS)
    for line in lines.values():
        assert set(line) == {"name", "label", "place", "state", "models", "capabilities", "seconds", "error"}
    local = lines.pop("local")
    assert (local["state"], local["error"]) == ("ready", None)
    assert "SmolLM2-135M-Instruct" in local["models"]
    for name, line in lines.items():
        assert (line["state"], line["models"]) == ("error", []), name
        assert line["error"]["message"]
        assert line["error"]["hint"]
    assert "GOOGLE_API_KEY" in lines["gemini"]["error"]["message"]
    assert "Local (Hugging Face)" in CliRunner().invoke(cli.app, ["backends"]).stdout


def python(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "cli.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"GESTALT_DATA_DIR": str(data), "HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    done = python("ask", "x", data=tmp_path, DEFAULT_LLM_TOP_P="7")
    assert done.returncode == 1
    assert "DEFAULT_LLM_TOP_P" in done.stderr
    assert "Traceback" not in done.stderr
    done = python("ask", "x", data=tmp_path, GESTALT_LOG_LEVEL="loud")
    assert "GESTALT_LOG_LEVEL" in done.stderr
    assert "Traceback" not in done.stderr
    done = python("backends", "--json", data=tmp_path, LOCAL_DTYPE="float7")
    assert done.returncode == 1
    assert "LOCAL_DTYPE" in json.loads(done.stdout)["error"]["message"]


def test_a_second_process_gets_json_and_a_way_out(services: Rehearsal) -> None:
    done = python("ask", "x", "--json", data=services.settings.data_dir)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["type"] == "LibraryLocked"
    assert "Traceback" not in done.stderr


@pytest.mark.models
def test_the_samples_answer_with_the_embedded_models(tmp_path: Path) -> None:
    """From the files to an answer, with real models and nothing but the command line."""
    data = tmp_path / "data"
    # The converted model of earlier tests serves here too; without one it is converted now.
    data.mkdir()
    models = ROOT / "build" / "models"
    models.mkdir(parents=True, exist_ok=True)
    (data / "models").symlink_to(models)
    ingested = python("ingest", "data/samples", "--json", data=data)
    assert ingested.returncode == 0, ingested.stderr
    assert ingested.stderr == ""
    answered = python("ask", "What is the code word for a fire?", "--json", data=data)
    assert answered.stderr == ""
    answer = json.loads(answered.stdout)
    assert "Snapdragon" in answer["answer"]
    assert answer["citations"][0]["document"] == "crew-handbook.docx"
    assert answer["usage"]["output_tokens"] > 3
    refused = json.loads(python("ask", "Who painted the Mona Lisa?", "--json", data=data).stdout)
    assert refused["refused"]
    assert "could not find" in refused["answer"]
