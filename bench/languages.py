"""Retrieval and refusals in other languages: XQuAD's questions over documents in the same and in another language.

    python -m bench.languages --data DIR [--only de,zh] [--every 4] [--folder build/eval]

DIR holds `xquad/xquad.LANGUAGE.part.json`, of which the English one is needed, and `mtrag_un/`, whose questions are out
of scope. Each collection gets its embedding model by its language, as on the pages. Prints JSON lines, then a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import evaluation_sets as sets
from bench.evaluate import emit, recall
from bench.evaluation_sets import Asked, QuestionSet
from options import AnswerOptions
from rag.schema import LOCAL_OWNER
from services import Services

K = 5
COLUMNS = ("R@1", "R@5", "refused")


def languages(data: Path) -> list[str]:
    """The languages of DIR, English first."""
    found = sorted(path.name.split(".")[1] for path in (data / "xquad").glob("xquad.*.part.json"))
    return sorted(found, key=lambda language: language != "en")


def ask(services: Services, what: str, questions: Sequence[Asked]) -> dict[str, object]:
    """Ask questions, after the first of which the collection may have got another model."""
    options = AnswerOptions(k=K)
    services.searching.retrieve(LOCAL_OWNER, questions[0].question, options)
    services.search.calibrate()
    found = [services.searching.retrieve(LOCAL_OWNER, asked.question, options) for asked in questions]
    pairs = list(zip(questions, found, strict=True))

    def mean(values: Iterator[float]) -> float:
        return sum(values) / len(pairs)

    figures = {"refused": mean(float(retrieval.abstained) for retrieval in found)}
    if all(asked.documents for asked in questions):
        figures["R@1"] = mean(recall(asked, retrieval.passages[:1]) for asked, retrieval in pairs)
        figures["R@5"] = mean(recall(asked, retrieval.passages[:K]) for asked, retrieval in pairs)
    (collection,) = services.library.collections(LOCAL_OWNER)
    return emit(asked=what, questions=len(pairs), index=collection.fingerprint, **figures)


def rows(data: Path, folder: Path, every: int, only: Sequence[str]) -> Iterator[dict[str, object]]:
    """The figures of each pair of languages."""
    texts = {language: sets.xquad(language, data) for language in languages(data)}
    outside = [Asked(asked.history[0] if asked.history else asked.question) for asked in sets.mtrag(data).questions]

    def some(found: QuestionSet) -> Sequence[Asked]:
        return found.questions[::every]

    for language in only or texts:
        with sets.library(texts[language], folder / f"xquad_{language}") as services:
            yield ask(services, f"{language} over {language}", some(texts[language]))
            if language != "en":
                # The paragraphs and questions of all languages have the same order.
                yield ask(services, f"en over {language}", some(texts["en"]))
            yield ask(services, f"foreign ones in English over {language}", outside[::every])
        if language != "en":
            with sets.library(texts["en"], folder / f"xquad_en_{language}") as services:
                yield ask(services, f"{language} over en", some(texts[language]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--every", type=int, default=1, help="ask each n-th question only")
    parser.add_argument("--folder", type=Path, default=Path("build/eval"))
    options = parser.parse_args()
    found = list(rows(options.data, options.folder, options.every, [x for x in options.only.split(",") if x]))
    print("\n| questions | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    for row in found:
        print(f"| {row['asked']} | " + " | ".join(f"{row[c]:.3f}" if c in row else "" for c in COLUMNS) + " |")


if __name__ == "__main__":
    main()
