"""What differs between the records of two answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NOT_COMPARED = ("prompt", "confidence")
"""The prompt repeats the other fields; the confidence is a result."""

SHORT = 12
"""Characters of a commit or digest that people compare."""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """`(name, value in one, value in the other)` of what differs; “-” for a missing value."""
    first, second = dict(_flat(one)), dict(_flat(other))
    pairs = [(name, first.get(name, "-"), second.get(name, "-")) for name in {**first, **second}]
    return [(name, mine, theirs) for name, mine, theirs in pairs if mine != theirs]


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if prefix + name in NOT_COMPARED:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            texts = (str(each["passage"] if isinstance(each, Mapping) else each) for each in value)
            yield prefix + name, ", ".join(texts)
        else:
            yield prefix + name, "" if value is None else str(value)[:SHORT] if name == "revision" else str(value)
