"""Values that a parser of foreign JSON must survive, and every way to put one of them into a message."""

import copy
from collections.abc import Iterator
from typing import Any

DEEP: Any = [[[[[[[[[[[["deep"]]]]]]]]]]]]
NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    2**53 + 1,
    2**63,
    2**64,
    10**400,
    -(10**400),
    1e308,
    "",
    "\n",
    "../../etc/passwd",
    "x" * 100_000,
    "ü" * 40,
    [],
    {},
    [[]],
    [{}],
    [None],
    [10**400],
    ["x", "x"],
    {"": None},
    DEEP,
)


def mutations(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (what was done, copy) with one part of a JSON value replaced, removed or doubled."""
    for path in _paths(value):
        for nasty in NASTY:
            yield (
                f"{path} = {str(nasty)[:30]}",
                _changed(value, path, lambda parent, key, nasty=nasty: _put(parent, key, nasty)),
            )
        yield f"{path} removed", _changed(value, path, lambda parent, key: parent.__delitem__(key))
        if isinstance(path[-1], int):
            yield f"{path} doubled", _changed(value, path, lambda parent, key: parent.insert(key, parent[key]))


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*prefix, key)
        yield from _paths(child, (*prefix, key))


def _changed(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    result = copy.deepcopy(value)
    parent = result
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return result


def _put(parent: Any, key: Any, nasty: Any) -> None:
    parent[key] = copy.deepcopy(nasty)
