"""Candidates that came with a request: what it said of them counts for that decision, as it did when it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.ids import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from features.events.outline import DecisionOutline
    from features.events.schema import Decision
    from training.labels import Floats, Ints, Queries

MEANT: dict[str, Any] = {"kind": "offer", "category": "", "price": 0.0, "value": 1.0}
"""What a candidate has of which nothing is said."""


def described(decision: Decision | DecisionOutline) -> dict[str, dict[str, Any]]:
    """Candidate -> its attributes, of those that the catalog did not know."""
    return {str(one["id"]): MEANT | one["attributes"] for one in decision.supplied if "attributes" in one}


def categories_of(queries: Queries) -> set[str]:
    return {said["category"] for brought in queries.supplied.values() for said in brought.values()}


def lay_over(
    queries: Queries, asked: Iterable[int], candidate: Ints, at: Ints, attributes: dict[str, Floats]
) -> dict[str, Floats]:
    """The attributes of each pair of candidate and instant, with what the requests of the queries `asked` said; texts
    as digests.
    """
    bringing = [query for query in asked if query in queries.supplied]
    if not bringing:
        return attributes
    pairs = {pair: place for place, pair in enumerate(zip(candidate.tolist(), at.tolist(), strict=True))}
    numbers = {text: number for number, text in enumerate(queries.candidates)}
    laid = {name: values.copy() for name, values in attributes.items()}
    for query in bringing:
        for text, said in queries.supplied[query].items():
            place = pairs.get((numbers.get(text, -1), int(queries.now[query])))
            if place is None:
                continue  # it was not shown
            for name, values in laid.items():
                value = said[name]
                values[place] = digest(value) if isinstance(value, str) else value
    return laid
