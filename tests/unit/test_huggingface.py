from __future__ import annotations

import errno
import gc
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import conversion
from backends import embedded_model, hub, quantization
from backends.base import LoadCancelledError, Progress
from backends.huggingface import HuggingFaceBackend
from errors import BackendUnavailable, ConfigurationError, ModelNotFound
from options import GenerationOptions
from settings import Settings
from tests.tiny_model import save


def ignore(progress: Progress) -> None:
    """Ignore progress."""


@pytest.fixture
def backend(tmp_path: Path) -> HuggingFaceBackend:
    return HuggingFaceBackend(Settings(data_dir=tmp_path / "data", device="cpu"))


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a GGUF, and an instant conversion."""

    def convert(source: Path, target: Path, report: object) -> None:
        (target / "model.safetensors").write_bytes(source.read_bytes() * 2)

    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    monkeypatch.setattr(embedded_model, "find_gguf", lambda: file)
    monkeypatch.setattr(embedded_model, "convert", convert)
    return file


def test_a_folder_is_loaded_with_rising_progress_and_unloaded(backend: HuggingFaceBackend, tmp_path: Path) -> None:
    folder = str(save(tmp_path / "tiny"))
    reports: list[Progress] = []
    loaded = backend.load(folder, reports.append)
    assert (loaded.context_window, loaded.device, loaded.quantization) == (512, "cpu", None)
    assert loaded.size_bytes
    fractions = [progress.fraction for progress in reports if progress.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 30
    assert (fractions[0], round(fractions[-1])) == (0, 1)
    chat_model = backend.chat_model(folder, GenerationOptions(max_new_tokens=2))
    assert len(chat_model.invoke("Hi").content) == 2
    assert len(backend.likelihood(folder, "Hi?", ["Hi.", "Ho."])) == 2
    assert backend.unload(folder)
    assert backend.unload(folder) is None
    for call in (
        lambda: chat_model.invoke("Hi"),
        lambda: backend.count_tokens(folder, "Hi"),
        lambda: backend.likelihood(folder, "Hi?", ["Hi."]),
    ):
        with pytest.raises(BackendUnavailable):
            call()


def test_the_dtype_can_be_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_DTYPE", "float32")
    backend = HuggingFaceBackend(Settings(data_dir=tmp_path))
    folder = str(save(tmp_path / "tiny"))
    assert backend.load(folder, ignore).dtype == "float32"
    backend.unload(folder)
    monkeypatch.setenv("LOCAL_DTYPE", "float8")
    with pytest.raises(ConfigurationError, match="LOCAL_DTYPE"):
        HuggingFaceBackend(Settings())


def test_a_model_can_be_spread_over_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_DEVICE_MAP", "auto")
    backend = HuggingFaceBackend(Settings(data_dir=tmp_path, device="cpu"))
    folder = str(save(tmp_path / "tiny"))
    assert backend.load(folder, ignore).device == "cpu"  # the only device in tests
    assert len(backend.chat_model(folder, GenerationOptions(max_new_tokens=2)).invoke("Hi").content) == 2
    backend.unload(folder)
    monkeypatch.setenv("LOCAL_DEVICE_MAP", "everywhere")
    with pytest.raises(ConfigurationError, match="LOCAL_DEVICE_MAP"):
        HuggingFaceBackend(Settings())


def test_unloading_reports_the_freed_memory(backend: HuggingFaceBackend, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = save(tmp_path / "model")
    config = LlamaConfig(hidden_size=512, intermediate_size=4096, num_hidden_layers=4, vocab_size=512)
    LlamaForCausalLM(config).save_pretrained(folder)
    loaded = backend.load(str(folder), ignore)
    released = backend.unload(str(folder))  # the weights are in memory even before the first answer
    assert released
    assert released.device == "cpu"
    assert released.size_bytes == loaded.size_bytes
    assert 0.8 * released.size_bytes < released.freed_bytes < 2 * released.size_bytes


@pytest.mark.parametrize("at", [0.0, 0.2, 0.7])
def test_a_cancelled_load_leaves_nothing_in_memory(backend: HuggingFaceBackend, tmp_path: Path, at: float) -> None:
    from transformers import LlamaForCausalLM
    from transformers.utils.logging import set_tqdm_hook

    def report(progress: Progress) -> None:
        if progress.fraction is not None and progress.fraction >= at:
            raise LoadCancelledError

    folder = str(save(tmp_path / "tiny"))
    gc.collect()
    with pytest.raises(LoadCancelledError):
        backend.load(folder, report)
    assert not [each for each in gc.get_objects() if type(each) is LlamaForCausalLM]
    assert set_tqdm_hook(None) is None
    with pytest.raises(BackendUnavailable, match="not loaded"):
        backend.chat_model(folder, GenerationOptions())


@pytest.mark.parametrize("variant", quantization.VARIANTS)
def test_a_variant_is_quantized_while_loading(backend: HuggingFaceBackend, tmp_path: Path, variant: str) -> None:
    pytest.importorskip("bitsandbytes")
    folder = str(save(tmp_path / "tiny"))
    plain = backend.load(folder, ignore)
    backend.unload(folder)
    loaded = backend.load(f"{folder}@{variant}", ignore)
    assert (loaded.quantization, loaded.device) == (variant, "cpu")
    assert (loaded.size_bytes or 0) < (plain.size_bytes or 0)
    chat_model = backend.chat_model(f"{folder}@{variant}", GenerationOptions(max_new_tokens=4))
    assert len(chat_model.invoke("Hi").content) == 4
    assert backend.unload(f"{folder}@{variant}")


def test_an_unavailable_variant_is_rejected(
    backend: HuggingFaceBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"4-bit on mps.*without @4-bit"):
        quantization.check_supported("a/model", "4-bit", "mps:0")
    folder = save(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    if importlib.util.find_spec("bitsandbytes"):
        with pytest.raises(ConfigurationError, match="quantized already"):
            backend.load(f"{folder}@4-bit", ignore)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigurationError, match="pip install bitsandbytes"):
        backend.load(f"{folder}@8-bit", ignore)


@pytest.mark.parametrize(
    ("model", "name", "variant"),
    [
        ("a/model@4-bit", "a/model", "4-bit"),
        ("/a/b@c/model@8-bit", "/a/b@c/model", "8-bit"),
        ("a/model@5-bit", "a/model@5-bit", None),
        ("@4-bit", "@4-bit", None),
    ],
)
def test_a_name_can_end_in_a_variant(model: str, name: str, variant: str | None) -> None:
    assert quantization.split(model) == (name, variant)


def test_a_model_without_a_chat_template_is_rejected(backend: HuggingFaceBackend, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="chat template"):
        backend.load(str(save(tmp_path / "tiny", template=None)), ignore)


def test_damaged_files_and_custom_code_are_rejected(backend: HuggingFaceBackend, tmp_path: Path) -> None:
    folder = save(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackendUnavailable, match="cannot be loaded"):
        backend.load(str(folder), ignore)
    theirs = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    config = {"model_type": "their_own", "auto_map": theirs}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendUnavailable, match="cannot be loaded"):
        backend.load(str(folder), ignore)


@pytest.mark.parametrize("name", ["no-such/model", "./no/such/folder", "/nowhere", "no such name"])
def test_an_unknown_model_is_reported_by_name(backend: HuggingFaceBackend, name: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        backend.load(name, ignore)
    assert name in raised.value.message
    assert raised.value.hint


def test_only_chat_models_in_the_cache_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert hub.cached_chat_models() == []
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name, template in (("models--a--chat", "[a]"), ("models--b--base", None)):
        save(tmp_path / name / "snapshots" / "1234", template)
    (tmp_path / "models--c--broken" / "snapshots" / "1").mkdir(parents=True)
    weights = tmp_path / "models--a--chat" / "snapshots" / "1234" / "model.safetensors"
    for content, family in ((None, "llama"), (np.zeros((1100, 1000), "int8"), "llama 1M"), (b"damaged", "llama")):
        if isinstance(content, bytes):
            weights.write_bytes(content)
        elif content is not None:
            save_file({"weight": content}, weights)
        found = [(info.name, info.context_window, info.family) for info in hub.cached_chat_models()]
        assert found == [("a/chat", 512, family)]


def test_the_embedded_model_is_listed_first_with_a_note(
    backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backend.list_models()[0]
    assert first.name == embedded_model.NAME
    assert "Small" in first.note
    monkeypatch.setattr(embedded_model, "PACKAGE", "no_such_package")
    assert conversion.INSTALL in backend.list_models()[0].note
    with pytest.raises(ConfigurationError, match=r"--require-hashes -r requirements-models"):
        backend.load(embedded_model.NAME, ignore)


def test_the_embedded_model_is_converted_once(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = embedded_model.ensure(tmp_path, ignore)
    assert (target / "model.safetensors").read_bytes() == b"weights" * 2
    monkeypatch.delattr(embedded_model, "convert")
    assert embedded_model.ensure(tmp_path, ignore) == target
    monkeypatch.setattr(embedded_model, "find_gguf", lambda: None)
    assert embedded_model.ensure(tmp_path, ignore) == target  # the package is no longer needed


@pytest.mark.parametrize("damage", ["truncated", "no manifest", "no weights", "another GGUF", "killed half-way"])
def test_a_damaged_conversion_is_repeated(gguf: Path, tmp_path: Path, damage: str) -> None:
    target = embedded_model.ensure(tmp_path, ignore)
    unfinished = target.with_name(f".{embedded_model.NAME}.unfinished")
    if damage == "truncated":
        (target / "model.safetensors").write_bytes(b"weig")
    elif damage == "no manifest":
        (target / conversion.MANIFEST).write_text("[]")
    elif damage == "no weights":
        (target / "model.safetensors").unlink()
    elif damage == "another GGUF":
        gguf.write_bytes(b"other weights")
    else:
        target.rename(unfinished)
    assert not embedded_model.is_complete(target)
    assert (embedded_model.ensure(tmp_path, ignore) / "model.safetensors").read_bytes() == gguf.read_bytes() * 2
    assert not unfinished.exists()


def test_a_full_disk_is_reported_and_leaves_no_files(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedded_model, "convert", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        embedded_model.ensure(tmp_path, ignore)
    assert [file.name for file in (tmp_path / "models").iterdir() if file.is_dir()] == []


def test_an_unwritable_data_folder_is_reported(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(ConfigurationError, match="GESTALT_DATA_DIR"):
        embedded_model.ensure(tmp_path, ignore)
