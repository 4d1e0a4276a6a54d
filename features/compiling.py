"""Compiled functions: for loops over numbers that a decision or a replay waits for, and that numpy would take apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba import njit, types

if TYPE_CHECKING:
    from collections.abc import Callable

READ_INTS = types.Array(types.int64, 1, "A", readonly=True)
"""Any int64 array of one dimension, also one that may not be written to."""
READ_FLOATS = types.Array(types.float64, 1, "A", readonly=True)

F = TypeVar("F", bound="Callable[..., Any]")


def compiled(signature: Any) -> Callable[[F], F]:
    """Compile at import, or take what an earlier import kept beside this file (else in the user's cache)."""

    def decorate(function: F) -> F:
        try:
            return cast("F", njit(signature, cache=True, nogil=True)(function))
        except RuntimeError:  # there is nowhere to keep it
            return cast("F", njit(signature, nogil=True)(function))

    return decorate
