"""YAML texts as nodes that know their places. Refused before anything is made of them: nesting that no stack holds,
aliases that stand for more than a machine holds, and keys that stand twice in a mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 100
"""Levels of mappings and lists in each other, aliases followed."""
MOST_NODES = 3_000_000
"""Values in a document, aliases followed."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # one of two classes
    """The safe loader; a day that no calendar has stays a text, for whoever expects a day to refuse."""

    def construct_yaml_timestamp(self, node: Any) -> Any:
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError:
            return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def compose(text: str) -> tuple[Any, Any]:
    """(the root node, what it says). Raises yaml.YAMLError, with a `problem_mark` where the place is known."""
    _bound_nesting(text)
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _bound(root)
        return root, _construct(loader, root)
    finally:
        loader.dispose()


def _construct(loader: Any, root: Any) -> Any:
    try:
        return loader.construct_document(root)
    except (ValueError, KeyError, OverflowError) as error:  # a tag that says what the text is not
        raise _refusal(root.start_mark, f"a value is not what its tag says: {error}") from error


def step(node: Any, key: str | int) -> Any:
    """The node below a node; None if there is none."""
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    return None


def _bound_nesting(text: str) -> None:
    """By events, which need no stack: composing nodes ends the process on a text that is nested too deep."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _refusal(event.start_mark, f"mappings and lists stand in each other more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _bound(root: Any) -> None:
    """An alias is of a node that stands before it, or around it: then it would go on forever."""
    sizes: dict[int, tuple[int, int]] = {}
    """Node -> (values in it, levels in it), aliases followed."""
    around: set[int] = set()

    def measure(node: Any) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            return 1, 0
        if (known := sizes.get(id(node))) is not None:
            return known
        if id(node) in around:
            raise _refusal(node.start_mark, "an alias stands in what it stands for")
        around.add(id(node))
        size, levels = 1, 0
        for child in _children(node):
            inner, below = measure(child)
            size, levels = size + inner, max(levels, below)
        around.discard(id(node))
        if size > MOST_NODES:
            raise _refusal(node.start_mark, f"with its aliases followed this has more than {MOST_NODES:,} values")
        if levels >= DEEPEST:
            raise _refusal(node.start_mark, f"with its aliases followed this is more than {DEEPEST} deep")
        sizes[id(node)] = size, levels + 1
        return size, levels + 1

    measure(root)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
        return
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal(key.start_mark, "a key is a plain text")
        if key.value in seen:
            raise _refusal(key.start_mark, f"the key {key.value!r} stands here a second time")
        seen.add(key.value)
        yield value


def _refusal(mark: Any, message: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark)
