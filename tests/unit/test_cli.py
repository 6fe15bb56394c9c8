"""The command line: its JSON for scripts, and its output for people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backends import BACKENDS
from commands import main as cli
from errors import AuthenticationFailed, ConfigurationError, PasswordRequired
from rag.chat.question import Question
from rag.documents.ingest import Ingest
from rag.documents.loaders import LoadedDocument
from rag.schema import LOCAL_OWNER, Page
from services.asking import Asking
from settings import ROOT, Settings
from tests.conftest import PIER, FakeServices
from tests.fake_embeddings import WordEmbeddings
from tests.fakes import ScriptedChatModel

QUESTION = "How long is the pier at Gannet Holm?"
Run = Callable[..., tuple[int, list[Any]]]


def shell(*arguments: str, **options: Any) -> Result:
    """Run a command as a person would."""
    return CliRunner().invoke(cli.app, arguments, **options)


@pytest.fixture
def run(use_fake_services: Callable[..., None]) -> Run:
    """Runs a command; returns its exit code and its JSON lines."""
    use_fake_services("commands.terminal")

    def call(*arguments: str) -> tuple[int, list[Any]]:
        result = shell(*arguments, "--json")
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


def test_ingest_walks_a_folder_and_reports_each_file(run: Run, folder: Path) -> None:
    code, lines = run("ingest", str(folder))
    assert code == 0
    assert [(line["file"], line["status"], line["pages"], line["chunks"]) for line in lines] == [
        ("pier.md", "ready", 1, 1),
        ("sub/copy.md", "duplicate", 1, 1),
        ("sub/moon.txt", "ready", 1, 1),
    ]
    assert set(lines[0]) == {"file", "status", "outcome", "pages", "chunks", "seconds", "reason", "warnings"}
    assert run("ingest", str(folder / "pier.md")) == (0, [lines[1] | {"file": "pier.md"}])


def test_ingest_reports_failures_and_goes_on(run: Run, tmp_path: Path) -> None:
    for name, content in (("a.pdf", b"%PDF-1.4 x"), ("b.txt", b""), ("c.bin", b"\0\1\2" * 99), ("d.txt", b"fine")):
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in ("a.pdf", "b.txt", "c.bin", "missing.txt", "d.txt")]
    code, lines = run("ingest", *paths)
    assert code == 1
    assert [line["status"] for line in lines] == ["failed"] * 4 + ["ready"]
    assert all(line["reason"].endswith(".") for line in lines[:4])


def test_ingest_goes_on_after_any_error_of_a_file(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "gone.txt").symlink_to("nowhere")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("The cafe opens at nine.")
    (folder / "locked").mkdir()
    (folder / "locked" / "a.txt").write_text("a")
    submit, scan = Ingest.submit, os.scandir

    def fail(self: Ingest, owner: str, collection: str, path: str, *rest: Any, **options: Any) -> Any:
        if path == "pier.md":
            raise ZeroDivisionError("a bug")
        if path == "sub/copy.md":
            raise PermissionError(13, "Permission denied")
        return submit(self, owner, collection, path, *rest, **options)

    def refuse(path: str) -> object:
        if str(path).endswith("/locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(Ingest, "submit", fail)
    monkeypatch.setattr(os, "scandir", refuse)
    code, lines = run("ingest", str(folder / "locked"), str(folder))
    assert code == 1
    done = {line["file"]: line["status"] for line in lines}
    failed = dict.fromkeys(("locked", "gone.txt", "pier.md", "sub/copy.md"), "failed")
    assert done == {**failed, "café.txt": "ready", "sub/moon.txt": "ready"}
    assert len(lines) == 7, "the folder that cannot be listed was named twice"
    reasons = {line["file"]: line["reason"] for line in lines}
    assert "inside Gestalt" in reasons["pier.md"]
    assert "a link to a file that does not exist" in reasons["gone.txt"]
    assert "Permission denied" in reasons["sub/copy.md"]
    assert "Permission denied" in reasons["locked"]


def test_ask_prints_one_object(run: Run, folder: Path) -> None:
    run("ingest", str(folder))
    code, [answer] = run("ask", QUESTION)
    assert code == 0
    assert set(answer) >= set("answer finish citations passages usage timings backend model error".split())
    expected = {"finish": "complete", "backend": "scripted", "model": "parrot", "error": None}
    assert answer.items() >= expected.items()
    assert set(answer["citations"][0]) == {"n", "document", "page", "quote", "start", "end"}
    assert answer["citations"][0]["document"] == "pier.md"
    assert set(answer["passages"][0]) == {"document", "page", "text", "score"}
    assert set(answer["usage"]) == {"input_tokens", "output_tokens", "thought_tokens", "estimated"}
    assert set(answer["timings"]) == {"retrieve_s", "first_token_s", "thought_s", "total_s"}
    assert answer["checks"] == [{"start": 0, "end": 42, "verdict": "supported", "passages": [1]}]
    assert (answer["mode"], answer["count"]) == ("quoted", None), "no passage supports what the model wrote"
    code, [answer] = run("ask", QUESTION, "--model", "owl", "--backend", "scripted")
    assert answer["model"] == "owl"


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of questions."""

    def write(*items: dict[str, Any]) -> str:
        (tmp_path / "questions.jsonl").write_text("\n\n".join(map(json.dumps, items)))
        return str(tmp_path / "questions.jsonl")

    return write


def test_ask_answers_a_file_of_questions_with_the_history_of_each(
    run: Run, folder: Path, file_of: Callable[..., str], use_fake_services: Callable[..., None]
) -> None:
    script = (
        ScriptedChatModel()
        .enqueue("The pier at Gannet Holm is 62 metres long.")
        .enqueue("Leo Marsh repaired it.")
        .enqueue("Leo Marsh repaired it in April.")
    )
    use_fake_services("commands.terminal", script=script)
    run("ingest", str(folder))
    said = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "62 metres."}]
    items: list[dict[str, Any]] = [
        {"id": 7, "question": QUESTION},
        {"id": "b", "question": "And who repaired it?", "history": [QUESTION]},
        {"question": "And who repaired it?", "history": said},
        {"id": "abstained", "question": "zebra xylophone"},
    ]
    code, lines = run("ask", "--questions", file_of(*items))
    assert code == 0
    assert [(line["id"], line["question"]) for line in lines] == [(i.get("id"), i["question"]) for i in items]
    assert [line["mode"] for line in lines] == ["written"] * 3 + ["abstained"]
    assert lines[0]["checks"] == [{"start": 0, "end": 42, "verdict": "supported", "passages": [1]}]
    assert lines[1]["passages"][0]["document"] == "pier.md"
    assert [len(prompt) for prompt in script.prompts] == [2, 2, 4], "an earlier answer is part of the prompt"
    assert set(lines[3]) - {"id", "question"} == set(run("ask", QUESTION)[1][0])
    services = FakeServices(folder.parent / "data")
    assert len(services.conversations.list(LOCAL_OWNER)) == 1, "those of a file are no chats"
    services.close()


def test_a_failed_question_does_not_end_the_others(
    run: Run, folder: Path, file_of: Callable[..., str], use_fake_services: Callable[..., None]
) -> None:
    script = ScriptedChatModel().enqueue("The pier ", AuthenticationFailed("The key is wrong.", "Correct it."))
    use_fake_services("commands.terminal", script=script)
    run("ingest", str(folder))
    both = file_of({"id": 1, "question": QUESTION}, {"id": 2, "question": QUESTION})
    code, [failed, answered] = run("ask", "--questions", both)
    assert (code, failed["finish"], answered["finish"]) == (1, "failed", "complete")
    assert (failed["error"]["message"], failed["answer"]) == ("The key is wrong.", "The pier")
    code, lines = run("ask", "--questions", both, "--backend", "nobody")
    assert (code, [line["id"] for line in lines]) == (1, [1, 2])
    assert set(lines[0]) >= {"mode", "checks", "count", "answer", "finish", "question"}
    printed = shell("ask", "--questions", both)
    assert printed.exit_code == 0
    assert printed.stdout.count(QUESTION) == 2


@pytest.mark.parametrize(("flag", "answers"), [("--quoted", "quoted"), ("--written", "written")])
def test_an_answer_is_quoted_or_written(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, flag: str, answers: str
) -> None:
    run("ingest", str(folder))
    ask, asked = Asking.ask, list[Question]()

    def record(self: Asking, owner: str, question: Question) -> Any:
        asked.append(question)
        return ask(self, owner, question)

    monkeypatch.setattr(Asking, "ask", record)
    assert run("ask", QUESTION, flag)[0] == 0
    assert asked[0].options.answers == answers
    code, [line] = run("ask", QUESTION, "--quoted", "--written")
    assert (code, line["finish"]) == (1, "failed")


@pytest.mark.parametrize(
    "arguments",
    [("ask", ""), ("ask", "x", "--collection", "missing"), ("ask", "x", "--backend", "nobody"), ("ask",)],
)
def test_a_failed_ask_prints_an_object_too(run: Run, arguments: tuple[str, ...]) -> None:
    code, [answer] = run(*arguments)
    assert code == 1
    assert answer["finish"] == "failed"
    assert answer["citations"] == []
    assert set(answer["error"]) == {"type", "message", "hint"}


def test_retrieve_takes_a_question_or_a_file(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", str(folder))
    code, [line] = run("retrieve", QUESTION, "--k", "1")
    assert code == 0
    assert set(line) == {"id", "question", "passages", "abstained", "refused", "seconds"}
    [passage] = line["passages"]
    assert set(passage) == {"document", "page", "text", "score", "start", "end"}
    assert passage["document"] == "pier.md"
    questions = tmp_path / "questions.jsonl"
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "62 metres."}]
    items = [
        {"id": 7, "question": "And who repaired it?", "history": [QUESTION]},
        {"id": "out_of_scope", "question": "zebra xylophone"},
        {"id": "messages", "question": "And who repaired it?", "history": turns},
    ]
    questions.write_text("\n\n".join(map(json.dumps, items)))
    code, lines = run("retrieve", "--questions", str(questions))
    assert [line["id"] for line in lines] == [7, "out_of_scope", "messages"]
    assert lines[2]["passages"] == lines[0]["passages"]
    assert lines[0]["passages"][0]["document"] == "pier.md"
    assert lines[1]["abstained"]
    assert lines[1]["passages"]


@pytest.mark.parametrize(
    "content", ["no json", '{"id": 1}', '{"question": " "}', "[1]", '{"question": "x", "history": [7]}']
)
def test_a_broken_file_of_questions_is_an_error(run: Run, folder: Path, tmp_path: Path, content: str) -> None:
    run("ingest", str(folder))
    questions = tmp_path / "questions.jsonl"
    questions.write_text(content)
    code, [line] = run("retrieve", "--questions", str(questions))
    assert code == 1
    assert line["error"]["hint"]
    assert run("retrieve")[0] == 1


def test_a_person_gets_sentences(run: Run, folder: Path) -> None:
    ingest = shell("ingest", str(folder))
    assert "ready" in ingest.stdout
    assert "already in the collection" in ingest.stdout
    ask = shell("ask", QUESTION)
    assert ask.stdout.startswith("The pier at Gannet Holm is 62 metres long. [1]\n\n")
    assert "\n\nSources:\n\n- [1] pier.md: “The pier at Gannet Holm is 62 metres long.”" in ask.stdout
    retrieve = shell("retrieve", QUESTION)
    assert "62 metres" in retrieve.stdout
    missing = shell("ask", "x", "--collection", "[/missing]")
    assert missing.exit_code == 1
    assert "[/missing]" in missing.stderr


def test_a_new_version_is_added_or_replaces_the_first(run: Run, folder: Path) -> None:
    run("ingest", str(folder))
    (folder / "pier.md").write_bytes(PIER.replace(b"62", b"63"))
    code, [line] = run("ingest", str(folder / "pier.md"))
    assert (code, line["status"], line["outcome"]) == (0, "ready", "version")
    (folder / "pier.md").write_bytes(PIER.replace(b"62", b"64"))
    run("ingest", str(folder / "pier.md"), "--replace")
    _, lines = run("documents")
    assert [(line["name"], line["version"]) for line in lines] == [("moon.txt", 1), ("pier.md", 1), ("pier.md", 1)]


@pytest.fixture
def locked(run: Run, use_fake_services: Callable[..., None], tmp_path: Path) -> Path:
    """A file that only the password “sesame” opens, and that is read with a warning."""

    def read(path: Path, name: str, *, password: str | None = None, report: object = None) -> LoadedDocument:
        if password != "sesame":
            raise PasswordRequired(f"Only a password opens {name}.", "Give the password.")
        return LoadedDocument(
            [Page("The treasure lies under the third lamp.")], ("Two pictures [of lamps] were left out.",)
        )

    use_fake_services("commands.terminal", read=read)
    (tmp_path / "chest.txt").write_text("locked")
    return tmp_path / "chest.txt"


def test_warnings_are_shown_and_a_password_opens(run: Run, locked: Path) -> None:
    alone = shell("ingest", str(locked))
    assert alone.exit_code == 1  # nobody is there to ask
    assert "Only a password opens" in alone.stdout
    code, [line] = run("ingest", str(locked), "--password", "sesame")
    assert (code, line["warnings"]) == (0, ["Two pictures [of lamps] were left out."])
    [document] = run("documents")[1]
    assert document["warnings"] == line["warnings"]


def test_the_password_is_asked_for_and_not_shown(locked: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.files.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    given_up = shell("ingest", str(locked), input="wrong\n\n")
    assert (given_up.exit_code, given_up.stderr.count("Password of chest.txt")) == (1, 2)
    done = shell("ingest", str(locked), input="wrong\nsesame\n")
    assert done.exit_code == 0
    assert "ready" in done.stdout
    assert "[of lamps]" in done.stdout
    assert "sesame" not in done.output
    assert run("documents", "--state", "failed") == (0, [])


def test_collections_are_created_renamed_and_deleted(run: Run, folder: Path) -> None:
    run("ingest", str(folder), "--collection", "papers")
    assert run("collections", "create", "empty")[0] == 0
    code, lines = run("collections", "list")
    assert [(line["name"], line["documents"]) for line in lines] == [("empty", {}), ("papers", {"ready": 2})]
    assert run("collections") == (code, lines)
    assert run("collections", "rename", "papers", "empty")[0] == 1
    assert run("collections", "rename", "papers", "letters")[0] == 0
    printed = shell("collections").stdout
    assert "letters" in printed
    assert "2 ready" in printed
    kept = shell("collections", "delete", "letters", input="n\n")
    assert kept.exit_code == 1
    assert "with 2 documents?" in kept.output
    assert shell("collections", "delete", "letters", input="y\n").exit_code == 0
    assert run("collections", "delete", "empty")[0] == 0
    assert run("collections", "delete", "empty", "--yes")[1][0]["error"]["message"]
    assert run("collections") == (0, [])


def test_the_renamed_default_collection_is_still_searched(run: Run, folder: Path) -> None:
    run("ingest", str(folder))
    assert run("collections", "rename", "My documents", "Piers")[0] == 0
    assert run("retrieve", QUESTION)[1][0]["passages"][0]["document"] == "pier.md"
    assert [line["name"] for line in run("collections")[1]] == ["Piers"], "no other one was created"


def test_documents_are_listed_moved_and_deleted(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "blank.txt").write_text(" ")
    assert run("ingest", str(folder))[0] == 1
    _, lines = run("documents")
    assert [(line["name"], line["state"]) for line in lines] == [
        ("blank.txt", "failed"),
        ("moon.txt", "ready"),
        ("pier.md", "ready"),
    ]
    assert [line["name"] for line in run("documents", "--state", "failed")[1]] == ["blank.txt"]
    assert run("documents", "--collection", "missing")[0] == 1
    printed = shell("documents").stdout
    assert "moon.txt" in printed
    assert run("move", "moon.txt", "sky")[0] == 0
    assert [line["name"] for line in run("documents", "--collection", "sky")[1]] == ["moon.txt"]
    assert "moon.txt" not in [line["name"] for line in run("documents", "--collection", "My documents")[1]]
    assert run("move", "blank.txt", "sky")[0] == 1
    assert run("delete", "sub/moon.txt")[0] == 0
    code, [line] = run("delete", "moon.txt")
    assert (code, line["error"]["message"]) == (1, "There is no document “moon.txt”.")
    run("ingest", str(folder / "pier.md"), "--collection", "sky")
    code, [line] = run("delete", "pier.md")
    assert "matches 2 documents" in line["error"]["message"]
    assert run("delete", "pier.md", "--collection", "sky")[0] == 0
    [pier] = run("documents", "--state", "ready")[1]
    assert run("delete", pier["id"])[0] == 0


def test_sync_reports_its_actions(run: Run, folder: Path) -> None:
    code, lines = run("sync", str(folder), "--dry-run")
    assert code == 0
    assert [(line["file"], line["action"]) for line in lines[:-1]] == [
        ("pier.md", "added"),
        ("sub/copy.md", "duplicate"),
        ("sub/moon.txt", "added"),
    ]
    assert lines[-1]["collection"] == "papers"
    assert lines[-1]["dry_run"]
    assert run("collections") == (0, [])
    printed = shell("sync", str(folder))
    assert printed.exit_code == 0
    assert "added  sub/moon.txt  1 page, 1 chunk" in printed.stdout
    assert printed.stdout.splitlines()[-1] == "“papers”: 2 added, 1 duplicate."
    (folder / "sub" / "moon.txt").unlink()
    (folder / "blank.txt").write_text(" ")
    code, lines = run("sync", str(folder))
    assert (code, lines[-1]["removed"], lines[-1]["failed"], lines[-1]["unchanged"]) == (1, 1, 1, 1)
    assert run("sync", str(folder / "missing"))[0] == 1
    assert run("sync", str(folder), "--collection", "other")[1][-1]["collection"] == "other"


def test_check_finds_and_repairs(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", str(folder))
    assert run("check") == (0, [])
    assert "All is well" in shell("check").stdout
    services = FakeServices(tmp_path / "data")
    services.store.drop(services.library.collection("local").id)
    services.close()
    code, [line] = run("check")
    assert (code, line["kind"], line["count"], line["repaired"]) == (1, "no-vector", 2, False)
    assert set(line) == {"kind", "count", "text", "collection", "documents", "repaired", "done"}
    repaired = shell("check", "--repair")
    assert repaired.exit_code == 0
    assert "2 put back into the queue." in repaired.stdout
    code, lines = run("ingest")
    assert (code, [line["status"] for line in lines]) == (0, ["ready", "ready"])
    assert run("check") == (0, [])


def test_backup_and_restore(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.upkeep.get_settings", lambda: Settings(data_dir=tmp_path / "data"))
    run("ingest", str(folder))
    file = str(tmp_path / "backup.zip")
    code, [line] = run("backup", file)
    assert code == 0
    assert (line["documents"], line["chunks"], line["vectors"]) == (2, 2, 2)
    run("delete", "pier.md")
    assert run("restore", file)[0] == 1
    done = shell("restore", file, "--force")
    assert done.exit_code == 0, done.output
    assert "2 documents, 2 chunks, 2 vectors" in done.stdout
    assert "All is well" in done.stdout
    assert len(run("documents")[1]) == 2
    (tmp_path / "backup.zip").write_bytes(b"PK nothing")
    code, [line] = run("restore", file, "--force")
    assert (code, line["error"]["type"]) == (1, "StoreError")
    assert len(run("documents")[1]) == 2


def test_a_collection_is_indexed_by_another_model(
    run: Run, folder: Path, use_fake_services: Callable[..., None]
) -> None:
    def embeddings(settings: Settings) -> WordEmbeddings:
        if settings.embedding_model == "nobody":
            raise ConfigurationError("There is no embedding model nobody.", "Choose another one.")
        name = settings.embedding_model
        return WordEmbeddings(fingerprint="words" if name == "embedded" else name)

    use_fake_services("commands.terminal", open_embeddings=embeddings)
    assert run("index", "--model", "other")[0] == 1  # no such collection
    run("ingest", str(folder))
    [only] = run("index", "--list")[1]
    assert (only["fingerprint"], only["active"], only["vectors"]) == ("words", True, 2)
    assert run("index", "--model", "nobody")[0] == 1
    assert run("index", "--drop", "words")[0] == 1
    assert run("index", "--drop", "missing")[0] == 1
    code, [old, new] = run("index", "--model", "other")
    assert (code, old["active"], new["active"], new["vectors"], new["model"]) == (0, False, True, 2, "other")
    assert run("index", "--model", "other")[0] == 1  # it answers already
    printed = shell("index", "--list").stdout
    assert "in use" in printed
    assert run("retrieve", QUESTION)[1][0]["passages"][0]["document"] == "pier.md"
    code, [left] = run("index", "--drop", "words")
    assert (code, left["fingerprint"]) == (0, "other")
    assert run("check") == (0, [])


def test_backends_does_not_lock_the_library(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "get_settings", lambda: services.settings)
    for name in ("OLLAMA", "VLLM", "INSTRUCTLAB"):
        monkeypatch.setenv(f"{name}_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_API_KEY", "")
    result = shell("backends", "--json")
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
    assert "has no key" in lines["gemini"]["error"]["message"]
    assert "Local (Hugging Face)" in shell("backends").stdout


def python(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "cli.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"GESTALT_DATA_DIR": str(data), "HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_invalid_setting_is_one_sentence(tmp_path: Path) -> None:
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


def test_a_second_process_gets_an_error_as_json(services: FakeServices) -> None:
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
    for mode, *options in (("quoted",), ("written", "--written")):
        answered = python("ask", "What is the code word for a fire?", *options, "--json", data=data)
        assert answered.stderr == ""
        answer = json.loads(answered.stdout)
        assert "Snapdragon" in answer["answer"]
        assert answer["citations"][0]["document"] == "crew-handbook.docx"
        assert answer["mode"] == mode
        assert (answer["usage"]["output_tokens"] > 3) is (mode == "written")
    abstained = json.loads(python("ask", "Who painted the Mona Lisa?", "--json", data=data).stdout)
    assert abstained["abstained"]
    assert "could not find" in abstained["answer"]
