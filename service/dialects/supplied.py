"""Candidates that a request brings: those that the catalog does not know compete by what the request says of them and
by what events have told of them, without rules, but under the caps and budgets that cover them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np

from features.aggregates.columns import Columns, decode_rows
from features.aggregates.rows import LAYOUTS, blank, pack
from features.ids import digest
from features.lifetimes import is_expired
from models.matrix import close_candidates
from service.catalog.compiled import compile_catalog
from service.catalog.parts import MOST, Kind
from service.catalog.schema import Candidate
from service.catalog.windows import EVER
from service.decisions.frame import Frame, exposures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from features.streaming import StoredRow
    from service.catalog.compiled import Compiled
    from service.live import Live

    Floats = NDArray[np.float64]

COLUMNS = (
    *("ids", "categories", "kinds", "group", "price", "value", "weight", "personal_seconds"),
    *("bought_seconds", "declined_seconds", "stock", "rule_of", "worth_of"),
)
"""Arrays of a compiled catalog, a number for each candidate."""
MOST_TAGS = 100


class Supplied(msgspec.Struct, frozen=True):
    """A candidate as a request describes it."""

    id: str
    features: dict[str, Any]


class Extended(Frame, frozen=True, kw_only=True):
    """A frame with the candidates of one request behind those of the catalog."""

    beneath: Frame
    fresh: Columns

    def candidates_at(self, now: float) -> dict[str, Floats]:
        below = self.beneath.candidates_at(now)
        everyone = np.zeros(self.fresh.size, np.int64)
        own = close_candidates(self.fresh, self.totals, np.array([now]), everyone)
        return {name: np.concatenate([values, own[name]]) for name, values in below.items()}

    def exposures_at(self, now: float) -> Floats:
        return np.concatenate([self.beneath.exposures_at(now), exposures_of(self.fresh, now)])


def describe(features: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a catalog has, of features that go by their names; what does not fit is no attribute."""
    attributes: dict[str, Any] = {}
    for name in ("title", "category"):
        if isinstance(said := features.get(name), str):
            attributes[name] = said
    if features.get("kind") in get_args(Kind):
        attributes["kind"] = features["kind"]
    for name, least in (("price", 0.0), ("value", -MOST)):
        said = features.get(name)
        if isinstance(said, (int, float)) and not isinstance(said, bool) and least <= said <= MOST:
            attributes[name] = float(said)
    tags = features.get("tags")
    if isinstance(tags, list):
        attributes["tags"] = [tag for tag in tags if isinstance(tag, str) and 1 <= len(tag) <= 256][:MOST_TAGS]
    return attributes


def lay_out(live: Live, supplied: Sequence[Supplied]) -> Frame:
    """The live frame with the candidates of a request, which has each id once."""
    frame = live.frame
    told: list[dict[str, Any]] = []
    unknown: list[Candidate] = []
    for one in supplied:
        known: dict[str, Any] = {"id": one.id, "features": one.features} if one.features else {"id": one.id}
        if one.id not in frame.compiled.place:
            known["attributes"] = describe(one.features)
            unknown.append(Candidate.model_validate({"id": one.id, **known["attributes"]}))
        told.append(known)
    rows = {candidate.id: live.candidate_row(digest(candidate.id)) for candidate in unknown}
    return lay_over(frame, unknown, rows, told)


def lay_over(
    frame: Frame,
    unknown: Sequence[Candidate],
    rows: Mapping[str, StoredRow | None],
    told: Sequence[dict[str, Any]] = (),
) -> Frame:
    """A frame with candidates that its catalog does not have, and the snapshot's rows of them.

    The first of those told is the page's own choice, which a placement with an apprentice serves.
    """
    if not unknown:
        return msgspec.structs.replace(frame, compiled=_default_to(frame.compiled, told), supplied=tuple(told))
    empty = pack(blank(LAYOUTS["candidate"], ""))
    states: list[tuple[Sequence[float], Sequence[int]]] = []
    for candidate in unknown:
        row = rows.get(candidate.id)
        current = (
            row is not None and frame.head is not None and not is_expired("candidate", row.applied, frame.head.time)
        )
        states.append((row.numbers, row.ids) if row is not None and current else empty)
    return Extended(
        compiled=_default_to(_extend(frame.compiled, unknown), told),
        head=frame.head,
        candidates=frame.candidates,
        totals=frame.totals,
        successors=frame.successors,
        pools=frame.pools,
        varied=frame.varied,
        opened=frame.opened,
        supplied=tuple(told),
        beneath=frame,
        fresh=decode_rows(LAYOUTS["candidate"], states),
    )


def _default_to(compiled: Compiled, told: Sequence[dict[str, Any]]) -> Compiled:
    """The catalog with the first of those told as the default where an apprentice learns."""
    learning = [one for one in compiled.placements.values() if one.apprentice]
    if not (learning and told):
        return compiled
    own = {one.id: one.model_copy(update={"default": told[0]["id"]}) for one in learning}
    return msgspec.structs.replace(compiled, placements=compiled.placements | own, varied={})


def _extend(compiled: Compiled, unknown: Sequence[Candidate]) -> Compiled:
    """The catalog with candidates at its end; positions of those before stay."""
    own = compile_catalog(compiled.document.model_copy(update={"candidates": list(unknown)}), compiled.version)
    size, width = len(compiled.candidates), compiled.opens.shape[1]
    closed = np.full((len(unknown), width - 1), EVER)
    joined: dict[str, Any] = {name: np.concatenate([getattr(compiled, name), getattr(own, name)]) for name in COLUMNS}
    return msgspec.structs.replace(
        compiled,
        candidates=compiled.candidates + own.candidates,
        place=compiled.place | {text: size + at for text, at in own.place.items()},
        by_digest=compiled.by_digest | {key: size + at for key, at in own.by_digest.items()},
        opens=np.concatenate([compiled.opens, np.hstack([own.opens, closed])]),
        closes=np.concatenate([compiled.closes, np.hstack([own.closes, closed])]),
        permitted={name: np.append(mask, own.permitted[name]) for name, mask in compiled.permitted.items()},
        limits=tuple(
            msgspec.structs.replace(limit, covers=np.append(limit.covers, its.covers))
            for limit, its in zip(compiled.limits, own.limits, strict=True)
        ),
        contents=compiled.contents + own.contents,
        **joined,
    )


def finite(score: float) -> float:
    """A score that JSON can carry."""
    return score if math.isfinite(score) else 0.0
