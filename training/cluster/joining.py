"""The join on workers: each span of neighbouring queries becomes rows that stay where they were joined."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features.store import read_store
from models.bundle import load
from training import parts
from training.cluster.waiting import wait_for
from training.dataset import Source
from training.parts import Part
from training.positions import number_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from features.home import Home
    from models.signature import Signature
    from training.labels import Flags, Floats, Ints, Queries

ROWS = 100_000
"""Of a span, about: what one task joins, and what is joined anew when a worker is lost."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring queries of a part of the split."""

    first: int
    """Query of the part."""
    rows: int
    part: Any
    """The future of a Part."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the split whose matrix lies on workers, and what this process knows of its rows."""

    spans: list[Span]
    rewarded: Flags
    owner: Ints
    place: Ints | None
    amount: Floats | None

    def slices(self) -> list[slice]:
        """Where each span's rows are among the part's."""
        ends = np.cumsum([0, *(span.rows for span in self.spans)]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]


def join(
    client: Client,
    home: Home,
    queries: Queries,
    signature: Signature,
    keep: Flags | None = None,
    extra: tuple[str, ...] = (),
    beside: tuple[str, str] | None = None,
    rows: int = ROWS,
) -> Held:
    """Begins to join all rows (those where `keep` holds). `beside` is (name, version) of a model that scores too.

    The historical store must be current, opened once, and where the workers see it.
    """
    kept = np.ones(len(queries.owner), np.bool_) if keep is None else keep
    stamp = (home.history / "digest").read_text()
    spans = []
    for first, chosen, place in divide(queries, rows):
        flags = kept[place]
        task = client.submit(_join, home, stamp, chosen, signature, flags, extra, beside, pure=False, retries=2)
        spans.append(Span(first=first, rows=int(flags.sum()), part=task))
    numbers = None
    if queries.position is not None:
        numbers = number_places(queries.placement, queries.owner, queries.position)[kept]
    return Held(
        spans=[span for span in spans if span.rows],
        rewarded=queries.rewarded[kept],
        owner=queries.owner[kept],
        place=numbers,
        amount=None if queries.amount is None else queries.amount[kept],
    )


def divide(queries: Queries, most: int = ROWS) -> Iterator[tuple[int, Queries, slice]]:
    """(first query, queries, rows) of spans of about so many rows."""
    starts = queries.row_starts
    first = 0
    while first < len(queries):
        behind = int(np.searchsorted(starts, starts[first] + most, side="left"))
        behind = min(max(behind, first + 1), len(queries))
        flags = np.zeros(len(queries), np.bool_)
        flags[first:behind] = True
        chosen = queries.select(flags)
        yield first, chosen, slice(int(starts[first]), int(starts[behind]))
        first = behind


def _join(
    home: Home,
    stamp: str,
    queries: Queries,
    signature: Signature,
    keep: Flags | None,
    extra: tuple[str, ...],
    beside: tuple[str, str] | None,
) -> Part:
    bundle = None if beside is None else load(home.bundles / beside[0] / beside[1])
    return parts.gather(_source(home, stamp), queries, signature, keep, extra, beside=bundle)


@lru_cache(maxsize=1)
def _source(home: Home, _stamp: str) -> Source:
    """Opened once a process and history."""
    return Source(home, read_store(home))


def bring(client: Client, held: Held) -> Part:
    """All rows as one part, in this process."""
    wait_for(client, [span.part for span in held.spans])
    found: list[Part] = client.gather([span.part for span in held.spans])
    return Part(
        matrix=np.concatenate([part.matrix for part in found]),
        rewarded=held.rewarded,
        owner=held.owner,
        extra={name: np.concatenate([part.extra[name] for part in found]) for name in found[0].extra},
        place=held.place,
        beside=None if found[0].beside is None else np.concatenate([part.beside for part in found]),
        amount=held.amount,
    )
