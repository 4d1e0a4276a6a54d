"""Who is no person: by the user agent, as the list of the project crawler-user-agents knows them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crawleruseragents import is_crawler  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("userAgent", "user_agent")
"""In a context: as Segment has it, and as the decision API writes its names."""
LONGEST = 1000


def is_bot(context: Mapping[str, Any]) -> bool:
    """Whether the context's user agent is known as a bot's; without one it is a person's."""
    agents = (context.get(name) for name in NAMES)
    return any(_is_crawler(agent[:LONGEST]) for agent in agents if isinstance(agent, str) and agent)


@lru_cache(maxsize=10_000)
def _is_crawler(agent: str) -> bool:
    return bool(is_crawler(agent))
