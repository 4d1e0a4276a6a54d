"""What features look at in many events: as `occurrences.look` sees it, but for all of a column in one loop.

Properties of the plainest types are read straight from the bytes; what is not plain goes through `occurrences.look`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from features.events.occurrences import LARGEST, LONGEST_ID, look
from features.ids import digest

Text = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
Group = Annotated[str, Meta(max_length=LONGEST_ID)]
Amount = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]


class _Line(msgspec.Struct):
    product_id: Text | UnsetType = UNSET
    promotion_id: Text | UnsetType = UNSET
    category: Group = ""


class _Plain(_Line):
    """Properties as most events have them; a `sku` or another type makes an event none of them."""

    sku: UnsetType = UNSET
    products: list[_Line] | UnsetType = UNSET
    revenue: Amount | UnsetType = UNSET
    total: Amount | UnsetType = UNSET
    value: Amount | UnsetType = UNSET


class _Brief(msgspec.Struct):
    properties: _Plain = msgspec.field(default_factory=_Plain)


class _Whole(msgspec.Struct):
    properties: dict[str, Any] = {}


_brief, _whole = msgspec.json.Decoder(_Brief).decode, msgspec.json.Decoder(_Whole).decode


def look_at(name: list[int], names: list[str], times: list[int], payloads: list[bytes]) -> dict[str, Any]:
    """Items and amounts of events: `item` (place of its event), `candidate`, `category` of each item, `revenue` of
    each event, and the `texts` of candidates by digest.
    """
    promoted = [one.startswith("Promotion") for one in names]
    revenue = np.zeros(len(payloads))
    item: list[int] = []
    candidate: list[int] = []
    category: list[int] = []
    codes: dict[str, int] = {}
    for place, (of, payload) in enumerate(zip(name, payloads, strict=True)):
        found: dict[str, int]
        try:
            said = _brief(payload).properties
            lines = said.products
            if not lines:
                text = said.promotion_id if promoted[of] else said.product_id
                if text is not UNSET:
                    item.append(place)
                    candidate.append(codes.setdefault(text, len(codes)))
                    category.append(digest(said.category))
            else:
                found = {}
                for line in lines:
                    text = line.promotion_id if promoted[of] else line.product_id
                    if text is UNSET:
                        raise msgspec.ValidationError  # it may have a sku
                    found[text] = digest(line.category)
                item += [place] * len(found)
                candidate += [codes.setdefault(text, len(codes)) for text in found]
                category += found.values()
            if said.revenue is not UNSET:
                revenue[place] = said.revenue
            elif said.total is not UNSET:
                revenue[place] = said.total
            elif said.value is not UNSET:
                revenue[place] = said.value
        except msgspec.ValidationError:
            occurrence = look(names[of], times[place], _whole(payload).properties)
            revenue[place] = occurrence.revenue
            found = {one.text: one.category for one in occurrence.items}
            item += [place] * len(found)
            candidate += [codes.setdefault(text, len(codes)) for text in found]
            category += found.values()
    digests = np.array([digest(text) for text in codes], np.int64)
    return {
        "item": np.array(item, np.int64),
        "candidate": digests[np.array(candidate, np.int64)],
        "category": np.array(category, np.int64),
        "revenue": revenue,
        "texts": dict(zip(digests.tolist(), codes, strict=True)),
    }
