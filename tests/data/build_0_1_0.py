"""Make `gestalt-0.1.0.zip`, the backup of a small data folder. Run once, with 0.1.0: later versions keep the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rag.chat.question import Question
from rag.schema import LOCAL_OWNER, Feedback
from services import Services
from settings import Settings

QUESTION = "What is the cat in the ticket office called?"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        services = Services(Settings(data_dir=Path(folder)))
        services.documents.add_samples(LOCAL_OWNER)
        for owner, document in services.library.due():
            services.ingest.process(owner, document.id)
        services.search.calibrate()
        mine = services.library.collection(LOCAL_OWNER)
        options = services.settings.answer.replace(collection_ids=(mine.id,), k=3, instructions="Be brief.")
        services.presets.save(LOCAL_OWNER, "Brief", options)
        message, turn = services.asking.ask(LOCAL_OWNER, Question(QUESTION, options, preset="Brief"))
        list(turn.follow())
        services.conversations.rate(LOCAL_OWNER, message.id, Feedback(good=True))
        services.backup(Path(__file__).with_name("gestalt-0.1.0.zip"), lambda done: None)
        services.close()
