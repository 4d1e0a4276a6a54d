"""How a model's aliases moved: one line a move in `<bundles>/<name>/moves.jsonl`, so that each can be taken back.

Services do not read it; what serves is in `aliases.json` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from models.bundle import BundleError

if TYPE_CHECKING:
    from pathlib import Path

Action = Literal["promoted", "rolled back", "withdrawn"]


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alias was pointed at a version, or (`withdrawn`, an empty version) at none any more."""

    time: str
    """ISO 8601 UTC."""
    alias: str
    version: str
    before: str = ""
    """The version that it named until then; empty for none."""
    action: Action = "promoted"
    reason: str = ""


def read_moves(bundles: Path, name: str) -> list[Move]:
    """All moves of a model's aliases, oldest first. Raises BundleError if the file is broken."""
    path = _path(bundles, name)
    try:
        return msgspec.json.Decoder(Move).decode_lines(path.read_bytes())
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: {error}") from error


def append(bundles: Path, name: str, move: Move) -> int:
    """Write a move down; how long the file was before, for `cut`."""
    path = _path(bundles, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(move) + b"\n")
    except OSError:
        cut(bundles, name, size)
        raise
    return size


def cut(bundles: Path, name: str, size: int) -> None:
    """Take back what was appended behind `size`."""
    path = _path(bundles, name)
    if size == 0:
        path.unlink(missing_ok=True)
    elif path.exists():
        with path.open("r+b") as file:
            file.truncate(size)


def find_previous(moves: list[Move], alias: str) -> str | None:
    """The version that a rollback of the alias leads to: a promotion puts one on a pile, a rollback takes it off.

    >>> steps = [("1", "promoted"), ("2", "promoted"), ("3", "promoted"), ("2", "rolled back")]
    >>> find_previous([Move(time="", alias="champion", version=to, action=how) for to, how in steps], "champion")
    '1'
    """
    pile: list[str] = []
    for move in moves:
        if move.alias != alias:
            continue
        if move.action == "withdrawn":
            pile.clear()  # nobody wants back what was taken away
            continue
        if move.action == "rolled back":
            del pile[-1:]
            continue
        if not pile and move.before:
            pile.append(move.before)  # from before there were moves to read
        pile.append(move.version)
    return pile[-2] if len(pile) > 1 else None


def _path(bundles: Path, name: str) -> Path:
    return bundles / name / "moves.jsonl"
