"""A data folder of 0.1.0 opens in this version with everything that was in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.schema import LOCAL_OWNER, Finish, Role
from services import Services, restore
from services.documents import sample_files
from settings import Settings
from tests.data.build_0_1_0 import QUESTION

BACKUP = Path(__file__).parent.parent / "data" / "gestalt-0.1.0.zip"


@pytest.mark.models
def test_samples_a_chat_and_a_preset_of_0_1_0(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    restore(settings, BACKUP, lambda done: None)
    services = Services(settings)
    assert list(services.check()) == []

    [mine] = services.library.collections(LOCAL_OWNER)
    documents = services.library.documents(LOCAL_OWNER, mine.id)
    assert {document.name for document in documents} == {path.name for path in sample_files()}

    [preset] = services.presets.list(LOCAL_OWNER)
    assert (preset.name, preset.options.instructions, preset.options.collection_ids) == (
        "Brief",
        "Be brief.",
        (mine.id,),
    )

    [chat] = services.conversations.list(LOCAL_OWNER)
    asked, answer = services.conversations.messages(LOCAL_OWNER, chat.id)
    assert (asked.role, asked.text, answer.finish) == (Role.USER, QUESTION, Finish.COMPLETE)
    assert "Pickle" in answer.text
    assert answer.citations
    assert answer.checks
    assert answer.feedback
    assert answer.feedback.good
    assert services.conversations.options(LOCAL_OWNER, chat.id) == (preset.options.replace(model=answer.model), "Brief")
    assert services.conversations.record(LOCAL_OWNER, answer.id)["prompt"]

    found = services.searching.retrieve(LOCAL_OWNER, QUESTION, preset.options)
    assert [passage.chunk_id for passage in found.passages] == [passage.chunk_id for passage in answer.passages]
    services.close()
