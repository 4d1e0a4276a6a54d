"""How deep JSON documents are nested: whoever reads them later has a stack, which is smaller than a sender's."""

from __future__ import annotations

from typing import Any


def is_deeper(document: Any, levels: int) -> bool:
    """Whether objects and lists stand in each other more than `levels` deep.

    >>> is_deeper([{"a": [1]}], 2), is_deeper([{"a": [1]}], 3), is_deeper("text", 0)
    (True, False, False)
    """
    level = [document] if isinstance(document, (dict, list)) else []
    for _ in range(levels):
        insides = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for inside in insides for inner in inside if isinstance(inner, (dict, list))]
        if not level:
            return False
    return bool(level)
