"""Progress from transformers' own progress bars, and cleanup after a failed load."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any


@contextmanager
def intercept_bars(step: Callable[[float], None]) -> Iterator[None]:
    """Make transformers' progress bars of this thread call `step` with 0 to 1 instead of drawing."""
    from transformers.utils.logging import set_tqdm_hook

    thread = get_ident()

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # The embedding model may be loading in another thread: cancelling this load must not end that one.
        if get_ident() == thread and args:
            return track(args[0], step)
        return previous(factory, args, kwargs) if previous else factory(*args, **kwargs)

    previous = set_tqdm_hook(hook)
    try:
        yield
    finally:
        set_tqdm_hook(previous)


def track(items: Collection[Any], step: Callable[[float], None]) -> Iterator[Any]:
    """Yield `items`; before each, call `step` with the fraction that is done, 0 to 1."""
    for done, item in enumerate(items):
        step(done / len(items))
        yield item


def clear_frames(error: BaseException) -> None:
    """Clear the locals that an exception and its causes keep alive, such as a half-loaded model."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link and link not in seen:
        traceback.clear_frames(link.__traceback__)
        seen.append(link)
        link = link.__cause__ or link.__context__
