"""Graphs in the form of dask: a dict of key -> task, other key, or plain value.

A task is a tuple with a callable in front; its arguments are keys of the graph, tasks, lists of
these, or values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from distributed.calls import Nested, evaluate, same

__all__ = ["Call", "call_of", "is_key", "is_task", "plan", "substitute"]

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def is_task(value: object) -> bool:
    """Whether ``value`` is a tuple with a callable in front."""
    return type(value) is tuple and bool(value) and callable(value[0])


def is_key(value: object, graph: Mapping[Hashable, Any]) -> bool:
    """Whether ``value`` is a key of the graph."""
    try:
        return value in graph
    except TypeError:  # not hashable
        return False


def _references(value: Any, graph: Mapping[Hashable, Any]) -> Iterator[Hashable]:
    """All keys of the graph that ``value`` refers to."""
    stack = [value]
    while stack:
        item = stack.pop()
        if is_task(item):
            stack.extend(item[1:])
        elif isinstance(item, list):
            stack.extend(item)
        elif is_key(item, graph):
            yield item


def plan(graph: Mapping[Hashable, Any], keys: list[Hashable]) -> list[Hashable]:
    """Return what ``keys`` need of the graph, dependencies first.

    Raises KeyError for a key that is not in the graph, ValueError for a circle.
    """
    order: dict[Hashable, None] = {}
    path: dict[Hashable, Iterator[Hashable]] = {}
    for start in keys:
        if start not in graph:
            raise KeyError(f"the graph has no key {start!r}")
        if start in order:
            continue
        path[start] = _references(graph[start], graph)
        while path:
            key = next(reversed(path))
            for needed in path[key]:
                if needed in path:
                    circle = [*path][[*path].index(needed) :]
                    raise ValueError("the graph has a circle: " + " -> ".join(map(repr, [*circle, needed])))
                if needed not in order:
                    path[needed] = _references(graph[needed], graph)
                    break
            else:
                del path[key]
                order[key] = None
    return list(order)


def substitute(value: Any, known: Mapping[Hashable, Any]) -> Any:
    """Return an argument with keys replaced by what is known of them, and tasks by nested calls."""
    if is_task(value):
        return Nested(value[0], [substitute(item, known) for item in value[1:]])
    if isinstance(value, list):
        return [substitute(item, known) for item in value]
    return known[value] if is_key(value, known) else value


def call_of(value: Any, known: Mapping[Hashable, Any]) -> Call:
    """Return the function and arguments that compute one value of a graph."""
    if not is_task(value):
        found = substitute(value, known)
        return (evaluate, (list, [found])) if _has_call(found) else (same, (found,))
    args = [substitute(item, known) for item in value[1:]]
    if any(map(_has_call, args)):
        return evaluate, (value[0], args)
    return value[0], tuple(args)


def _has_call(value: Any) -> bool:
    return isinstance(value, Nested) or (isinstance(value, list) and any(map(_has_call, value)))
