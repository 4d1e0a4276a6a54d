"""Rows as Feast joins them: packed lists in Arrow columns, opened as states; and the catalog's attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from features.aggregates.columns import Columns, decode
from features.aggregates.rows import Layout, blank, pack
from features.ids import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.labels import Floats, Ints

Number = TypeVar("Number", np.float64, np.int64)


class Stored(msgspec.Struct, frozen=True):
    """Joined rows of one view as packed lists, with where each stands; entities without a row share the blank one."""

    layout: Layout
    numbers: Floats
    number_spans: Ints
    """(n, 2) where each row's numbers begin and end."""
    ids: Ints
    id_spans: Ints

    @classmethod
    def of(cls, layout: Layout, table: pa.Table) -> Stored:
        """The rows of a table with the layout's two columns."""
        numbers, ids = pack(blank(layout, ""))
        values, spans = _lists(table[layout.numbers], np.asarray(numbers, np.float64))
        keys, key_spans = _lists(table[layout.ids], np.asarray(ids, np.int64))
        return cls(layout, values, spans, keys, key_spans)

    def columns(self, index: Ints | slice) -> Columns:
        return decode(self.layout, self.numbers, self.number_spans[index, 0], self.ids, self.id_spans[index, 0])

    def packed(self, at: int) -> tuple[list[float], list[int]]:
        numbers, ids = slice(*self.number_spans[at]), slice(*self.id_spans[at])
        return self.numbers[numbers].tolist(), self.ids[ids].tolist()


def _lists(column: pa.ChunkedArray, empty: NDArray[Number]) -> tuple[NDArray[Number], Ints]:
    """A column of lists as (values, (n, 2) spans); null lists are spans of `empty`, which stands behind the rest."""
    values: list[NDArray[Number]] = []
    spans: list[Ints] = []
    before = 0
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy().astype(np.int64)
        values.append(chunk.values.slice(offsets[0], offsets[-1] - offsets[0]).to_numpy(zero_copy_only=False))
        span = np.stack([offsets[:-1], offsets[1:]], axis=1) - offsets[0] + before
        span[chunk.is_null().to_numpy(zero_copy_only=False)] = -1
        spans.append(span)
        before += len(values[-1])
    found = np.concatenate(spans)
    found[found[:, 0] < 0] = before, before + len(empty)
    return np.concatenate([*values, empty]), found


def read_attribute(column: pa.ChunkedArray) -> Floats:
    """Numbers as they are (NaN where the catalog says nothing), texts as digests."""
    if not pa.types.is_string(column.type):
        plain: Floats = column.to_numpy().astype(np.float64)
        return plain
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    digests = np.array([*(digest(text) for text in encoded.dictionary.to_pylist()), digest("")], np.float64)
    known: Floats = digests[encoded.indices.fill_null(-1).to_numpy()]
    return known
