"""Work that is shared is done once, comes back in order, and is not asked for all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from features.several import AHEAD, Here, share, spread

if TYPE_CHECKING:
    from collections.abc import Iterator


def double(number: int) -> int:
    if number < 0:
        raise ValueError("below zero")
    return 2 * number


def test_what_is_shared_comes_back_in_order_whoever_did_it() -> None:
    for pays in (False, True):
        with spread(pays) as pool:
            assert list(share(pool, double, [(number,) for number in range(3 * AHEAD)])) == [*range(0, 6 * AHEAD, 2)]
            assert list(share(pool, double, [])) == []


def test_arguments_are_asked_for_as_they_are_needed() -> None:
    asked = 0

    def ask() -> Iterator[tuple[int]]:
        nonlocal asked
        for asked in range(100):
            yield (asked,)

    shared = share(Here(), double, ask())
    assert next(shared) == 0
    assert asked < AHEAD
    assert list(shared) == [*range(2, 200, 2)]


def test_what_fails_elsewhere_fails_here() -> None:
    for pays in (False, True):
        with spread(pays) as pool, pytest.raises(ValueError, match="below zero"):
            list(share(pool, double, [(1,), (-1,), (2,)]))
