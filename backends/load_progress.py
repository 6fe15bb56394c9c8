"""Progress out of libraries that draw theirs, and exceptions that end a load and leave nothing behind.

transformers is imported where its bars are taken over.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from backends.base import Progress, Report


class _EndedError(BaseException):
    """Carries an exception of `report` past every `except` on the way."""


@contextmanager
def passing(report: Report) -> Iterator[Report]:
    """A report whose exceptions leave the block as they are, whatever the libraries between catch."""

    def told(progress: Progress) -> None:
        try:
            report(progress)
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the block
            raise _EndedError(error) from None

    error: BaseException | None = None
    try:
        yield told
    except _EndedError as ended:
        error = ended.args[0]
    if error:
        raise error


@contextmanager
def bars(step: Callable[[float], None]) -> Iterator[None]:
    """Transformers' progress bars of this thread call `step` with 0 to 1 instead of being drawn."""
    from transformers.utils.logging import set_tqdm_hook

    thread = get_ident()

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # The embedding model may be loading in another thread: what ends this load must not end that one.
        if get_ident() == thread and args:
            return stepping(args[0], step)
        return before(factory, args, kwargs) if before else factory(*args, **kwargs)

    before = set_tqdm_hook(hook)
    try:
        yield
    finally:
        set_tqdm_hook(before)


def stepping(items: Collection[Any], step: Callable[[float], None]) -> Iterator[Any]:
    """`items`, with `step` called before each with how many of them are done, 0 to 1."""
    for done, item in enumerate(items):
        step(done / len(items))
        yield item


def forget(error: BaseException) -> None:
    """Drop what the frames of an exception hold: half a model, where a load failed."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link and link not in seen:
        traceback.clear_frames(link.__traceback__)
        seen.append(link)
        link = link.__cause__ or link.__context__
