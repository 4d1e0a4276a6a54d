"""The catalog's text with one experiment more or less: all else stays as it was written, comments too.

The experiment stands first in its list, as one line of JSON, which YAML takes for one of its own. Pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from service.ramps.state import RampError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "experiments"


def put(text: str, entry: Mapping[str, Any]) -> str:
    """The text with the experiment, in the place of one of the same id. Raises RampError where there is no room."""
    root = _compose(text)
    said = json.dumps(entry)
    found = _find(root, str(entry["id"]))
    if found is not None:
        return text[: found.start_mark.index] + said + text[found.end_mark.index :]
    key, listed = _list(root)
    if key is None:
        if root.flow_style:
            start = root.start_mark.index + 1
            return f'{text[:start]}"{KEY}": [{said}]{", " if root.value else ""}{text[start:]}'
        if root.start_mark.column:
            raise RampError("the catalog's keys are indented, so that nothing can be put behind them")
        return f"{text}{'' if text.endswith(chr(10)) else chr(10)}{KEY}:\n- {said}\n"
    if not isinstance(listed, yaml.SequenceNode):
        raise RampError(f"the catalog's `{KEY}` is no list that an experiment can be put into: write `{KEY}: []`")
    start = listed.start_mark.index
    if listed.flow_style:
        return f"{text[: start + 1]}{said}{', ' if listed.value else ''}{text[start + 1 :]}"
    return f"{text[:start]}- {said}\n{' ' * listed.start_mark.column}{text[start:]}"


def take_out(text: str, name: str) -> str:
    """The text without the experiment that `put` has put there; as it is if it is not there."""
    root = _compose(text)
    found = _find(root, name)
    if found is None:
        return text
    key, listed = _list(root)
    assert key is not None  # noqa: S101  # it was found there
    at = [id(each) for each in listed.value].index(id(found))
    following = listed.value[at + 1] if at + 1 < len(listed.value) else None
    if following is not None and listed.flow_style:
        return text[: found.start_mark.index] + text[following.start_mark.index :]
    if following is not None:  # from after our dash to after the next one
        return text[: found.start_mark.index] + text[following.start_mark.index :]
    if at:
        end = listed.value[at - 1].end_mark.index
        begin = end if listed.flow_style else text.rindex("-", 0, found.start_mark.index)
        return text[:begin].rstrip(" ") + text[found.end_mark.index :].removeprefix("\n")
    if listed.flow_style:
        return text[: listed.start_mark.index + 1] + text[listed.end_mark.index - 1 :]
    return text[: key.start_mark.index] + text[found.end_mark.index :].removeprefix("\n")


def _compose(text: str) -> Any:
    root = yaml.compose(text, yaml.SafeLoader)  # its marks count characters; the text was found good before
    if not isinstance(root, yaml.MappingNode):
        raise RampError("the catalog is no mapping of keys to values")
    return root


def _list(root: Any) -> tuple[Any, Any]:
    """(the key's node, the list's); None each without one."""
    return next(((key, value) for key, value in root.value if key.value == KEY), (None, None))


def _find(root: Any, name: str) -> Any:
    """The node of the experiment of that id, if it is written as `put` writes it. Raises RampError if otherwise."""
    _, listed = _list(root)
    for node in listed.value if isinstance(listed, yaml.SequenceNode) else ():
        if any(key.value == "id" and value.value == name for key, value in node.value):
            if not node.flow_style:
                raise RampError(f"somebody has written the experiment {name!r} otherwise: take it out of the catalog")
            return node
    return None
