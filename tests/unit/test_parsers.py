"""Real worker processes: limits, crashes, secrets and shutdown."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from reportlab.pdfgen.canvas import Canvas

from errors import DocumentError, EmptyDocument, PasswordRequired, UnreadableDocument, UnsupportedDocument
from rag.documents import parsers as module
from rag.documents.loaders import load
from rag.documents.parsers import Parsers

# A worker whose loader runs the name of a document as Python code.
SCRIPTED = """
import ctypes, os, re, signal, subprocess, sys, tempfile, time
from errors import EmptyDocument
from rag.documents import parsers
from rag.documents.loaders import LoadedDocument
from rag.schema import Page

def load(path, name, report, *, password=None):
    out = []
    exec(name, globals() | locals())
    return LoadedDocument([Page(str(text)) for text in out or [os.getpid()]], ("a warning",))

parsers.load = load
parsers.main()
"""
COMMAND = (sys.executable, "-c", SCRIPTED)
ENDLESS = "time.sleep(60)"
ROOT = Path(__file__).parents[2]
Make = Callable[..., Parsers]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Parsers] = []

    def start(**limits: float) -> Parsers:
        made.append(Parsers(command=COMMAND, **limits))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for parsers in made:
        parsers.close()


@pytest.fixture(scope="module")
def scripted() -> Iterator[Parsers]:
    parsers = Parsers(command=COMMAND)
    yield parsers
    parsers.close()


@pytest.fixture(scope="module")
def real() -> Iterator[Parsers]:
    parsers = Parsers()
    yield parsers
    parsers.close()


def run(parsers: Parsers, code: str, **options: Callable[[int, int], None] | str) -> str:
    """Return what the document's code adds to `out`, or the id of the worker."""
    return "\n".join(page.text for page in parsers.read(Path("x"), code, **options).pages)  # type: ignore[arg-type]


def write_pdf(path: Path, pages: int, password: str | None = None) -> Path:
    canvas = Canvas(str(path), encrypt=password)
    for page in range(pages):
        canvas.drawString(72, 750, f"This is page {page + 1}.")
        canvas.showPage()
    canvas.save()
    return path


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# --- documents ---------------------------------------------------------------------------------------------------


def test_reads_like_the_loaders(real: Parsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("Où est la leçon? \U0001f642\nline", encoding="utf-8")
    assert real.read(Path("text"), "a.txt") == load(Path("text"), "a.txt")
    reported: list[tuple[int, int]] = []
    reading = real.read(write_pdf(tmp_path / "pdf", 3), "a.pdf", report=lambda *progress: reported.append(progress))
    assert reading == load(tmp_path / "pdf", "a.pdf")
    # Without progress, the last report is repeated.
    assert [*dict.fromkeys(progress for progress in reported if progress != (0, 0))] == [(1, 3), (2, 3), (3, 3)]


def test_errors_keep_class_and_message(real: Parsers, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "program").write_bytes(b"\x7fELF" + bytes(100))
    (tmp_path / "sheet").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (tmp_path / "broken").write_bytes(b"%PDF-1.4\n%%EOF\n")
    kinds = set[type[DocumentError]]()
    for name in ("empty", "program", "sheet", "broken", "gone", "lone \udcff surrogate"):
        with pytest.raises(DocumentError) as expected:
            load(tmp_path / name, name)
        with pytest.raises(DocumentError) as error:
            real.read(tmp_path / name, name)
        assert (type(error.value), error.value.args) == (type(expected.value), expected.value.args)
        assert (error.value.message, error.value.hint) == (expected.value.message, expected.value.hint)
        kinds.add(type(error.value))
    assert kinds == {EmptyDocument, UnsupportedDocument, UnreadableDocument}


def test_password(real: Parsers, tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "pdf", 1, password="open sesame")
    for wrong in (None, "open says me"):
        with pytest.raises(PasswordRequired):
            real.read(path, "a.pdf", password=wrong)
    assert "page 1" in real.read(path, "a.pdf", password="open sesame").pages[0].text


def test_warnings(scripted: Parsers) -> None:
    assert scripted.read(Path("x"), "pass").warnings == ("a warning",)


def test_worker_is_reused_and_replaced(make: Make) -> None:
    parsers = make(memory_mb=400)
    first = [run(parsers, "pass") for _ in range(module.MAX_FILES)]
    assert len(set(first)) == 1
    assert gone(int(first[0]), 0)
    second = run(parsers, "parsers.kept = b'x' * 150_000_000")
    assert second != first[0]
    assert gone(int(second), 0)
    assert run(parsers, "pass") != second


# --- limits ------------------------------------------------------------------------------------------------------


def test_time_limit(scripted: Parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    run(scripted, "pass")  # the worker is warm: its start would count
    monkeypatch.setattr(scripted, "seconds", 0.5)
    with pytest.raises(UnreadableDocument, match=r"takes too long to read: it was stopped after \d") as error:
        run(scripted, ENDLESS)
    assert error.value.hint
    monkeypatch.undo()
    assert run(scripted, "pass")


def test_total_time_limit(scripted: Parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    run(scripted, "pass")
    monkeypatch.setattr(scripted, "seconds", 0.5)
    monkeypatch.setattr(module, "TOTAL_FACTOR", 3)
    with pytest.raises(UnreadableDocument, match="too long"):
        run(scripted, "for n in range(1000): report(n + 1, 1000); time.sleep(0.02)")


@pytest.mark.parametrize("code", ["bytearray(2_000_000_000)", "x = []\nwhile True: x.append('x' * 1_000_000)"])
def test_memory_limit(make: Make, code: str) -> None:
    parsers = make(memory_mb=200)
    with pytest.raises(UnreadableDocument, match="needs more memory than a document may take") as error:
        run(parsers, code)
    assert error.value.hint
    assert run(parsers, "pass")


@pytest.mark.parametrize("code", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "ctypes.string_at(0)"])
def test_crash_affects_only_that_document(scripted: Parsers, code: str) -> None:
    with pytest.raises(UnreadableDocument, match="the program that reads it crashed") as error:
        run(scripted, code)
    assert error.value.hint
    assert run(scripted, "pass")


def test_bug_logs_a_traceback(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnreadableDocument, match="the program that reads it crashed"):
        run(make(), "out.append(1); raise KeyError('a bug')")
    assert "KeyError: 'a bug'" in capfd.readouterr().err


def test_worker_that_died_while_idle_is_replaced(scripted: Parsers) -> None:
    psutil.Process(int(run(scripted, "pass"))).kill()
    time.sleep(0.1)
    assert run(scripted, "pass")


# --- the way there and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [ENDLESS, "report(1, 9); re.match('(a+)+$', 'a' * 40 + 'b')"])
def test_report_can_stop_reading_within_a_page(scripted: Parsers, code: str) -> None:
    pid = int(run(scripted, "pass"))

    def report(done: int, total: int) -> None:
        if time.monotonic() > start + 0.3:
            raise KeyError("enough")

    start = time.monotonic()
    with pytest.raises(KeyError, match="enough"):
        run(scripted, code, report=report)
    assert gone(pid, 0)
    assert run(scripted, "pass")


def test_workers_run_in_parallel_up_to_the_limit(make: Make) -> None:
    parsers = make(workers=2)
    pids: list[str] = []
    threads = [
        threading.Thread(target=lambda: pids.append(run(parsers, "time.sleep(0.3)\nout.append(os.getpid())")))
        for _ in range(4)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - start > 0.6
    assert len(pids) == 4
    assert len(set(pids)) == 2


def test_waiting_for_a_worker_can_be_stopped(scripted: Parsers) -> None:
    busy = threading.Event()
    thread = threading.Thread(target=lambda: run(scripted, "time.sleep(1)", report=lambda *_: busy.set()))
    thread.start()
    assert busy.wait(5)

    def stop(done: int, total: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        run(scripted, "pass", report=stop)
    thread.join()


def test_output_of_libraries_is_ignored(scripted: Parsers) -> None:
    noise = "assert not sys.stdin.read(); print('noise', flush=True); os.write(1, b'noise'); os.system('echo noise')"
    assert run(scripted, f"{noise}; out.append('text')") == "text"


def test_password_and_keys_are_not_in_arguments_or_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "open sesame")
    parsers = make()
    assert run(parsers, "out.append(password)", password="open sesame") == "open sesame"
    process = psutil.Process(int(run(parsers, "pass", password="open sesame")))
    assert "open sesame" not in " ".join([*process.cmdline(), *process.environ().values()])
    assert "GEMINI_API_KEY" not in process.environ()
    with pytest.raises(EmptyDocument) as error:
        run(parsers, "raise EmptyDocument('Nothing.')", password="open sesame")
    assert "sesame" not in str(error.value)


def test_worker_starts_light_in_any_folder(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "errors.py").write_text("not python")
    monkeypatch.chdir(tmp_path)
    heavy = "{'torch', 'chromadb', 'streamlit', 'sqlalchemy', 'pydantic', 'pypdf', 'pypdfium2', 'docx', 'bs4', 'numpy'}"
    assert run(make(), f"out.append({heavy} & set(sys.modules))") == "set()"


# --- the end -----------------------------------------------------------------------------------------------------


def test_close(make: Make) -> None:
    Parsers().close()
    parsers = make(workers=2)
    pid = int(run(parsers, "pass"))
    raised: list[BaseException] = []
    busy = threading.Event()

    def read() -> None:
        try:
            run(parsers, ENDLESS, report=lambda *_: busy.set())
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert busy.wait(5)
    parsers.close()
    parsers.close()
    thread.join()
    assert gone(pid, 0)
    assert "closed" in str(raised[0])
    with pytest.raises(RuntimeError, match="closed"):
        run(parsers, "pass")


@pytest.mark.parametrize("code", ["pass", "while True: pass", "subprocess.run(['sleep', '60'])"])
def test_workers_end_with_the_server(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = f"""
import time
from pathlib import Path
from rag.documents.parsers import Parsers
parsers = Parsers(command={COMMAND!r})
print(parsers.read(Path("x"), "pass").pages[0].text, flush=True)
parsers.read(Path("x"), {code!r})
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", server], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            pid = int(process.stdout.readline())
            time.sleep(0.5)
            family = [pid, *(child.pid for child in psutil.Process(pid).children())]
        finally:
            process.kill()
    assert (len(family) == 2) == ("sleep" in code)
    assert all(gone(member, 3) for member in family)
    assert not [*tmp_path.iterdir()]


def test_killed_worker_leaves_no_processes_or_files(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parsers = make()
    pid = int(run(parsers, "pass"))
    children: list[psutil.Process] = []

    def report(done: int, total: int) -> None:
        children.extend(psutil.Process(pid).children())
        if children:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        run(parsers, "tempfile.mkstemp(); subprocess.run(['sleep', '60'])", report=report)
    assert all(gone(child.pid, 1) for child in children)
    assert not [*tmp_path.iterdir()]


def test_server_that_does_not_close_the_pool_ends_cleanly() -> None:
    server = f"""
from pathlib import Path
from rag.documents.parsers import Parsers
print(Parsers(command={COMMAND!r}).read(Path("x"), "pass").pages[0].text)
"""
    done = subprocess.run([sys.executable, "-c", server], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert gone(int(done.stdout), 3)
