"""The trees of a LightGBM model's text (format version 4), as they are summed; what is not known here is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.trees import CATEGORICAL, EVERY_LEAF, Trees

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LEAVES = 64
KNOWN = {"version": "v4", "num_class": "1", "num_tree_per_iteration": "1"}


def parse(model: str) -> Trees | None:
    """The trees of a model's text; None where it has what is not known here: several classes, linear leaves, forests,
    trees of more than 64 leaves.
    """
    header, *parts = model.split("\nTree=")
    known = dict(_pairs(header))
    averaged = "average_output" in header.split("\n")
    if averaged or any(known.get(name) != value for name, value in KNOWN.items()) or not parts:
        return None
    features: list[int] = []
    thresholds: list[float] = []
    kinds: list[int] = []
    remaining: list[int] = []
    words: list[tuple[int, int]] = []
    bits: list[int] = []
    ends: list[tuple[int, int]] = []
    leaves: list[float] = []
    for part in parts:
        tree = dict(_pairs(part.split("\nend of trees")[0]))
        values = [float(value) for value in tree["leaf_value"].split()]
        if tree.get("is_linear", "0") != "0" or len(values) > MOST_LEAVES:
            return None
        if len(values) == 1:
            leaves += values
        else:
            sides = [[int(child) for child in tree[side].split()] for side in ("left_child", "right_child")]
            order, masks = _number(*sides)
            leaves += [values[leaf] for leaf in order]
            remaining += masks
            own = [int(kind) for kind in tree["decision_type"].split()]
            limits = [float(limit) for limit in tree["threshold"].split()]
            bounds = list(pairwise(int(bound) + len(bits) for bound in tree.get("cat_boundaries", "").split()))
            kinds += own
            thresholds += limits
            features += map(int, tree["split_feature"].split())
            words += [
                bounds[int(limit)] if kind & CATEGORICAL else (0, 0) for kind, limit in zip(own, limits, strict=True)
            ]
            bits += map(int, tree.get("cat_threshold", "").split())
        ends.append((len(features), len(leaves)))
    return Trees(
        np.array(features, np.int32),
        np.array(thresholds, np.float64),
        np.array(kinds, np.uint8),
        np.array(remaining, np.uint64),
        np.array(words, np.int32).reshape(-1, 2),
        np.array(bits, np.uint32),
        np.array(ends, np.int32),
        np.array(leaves),
    )


def _number(left: list[int], right: list[int]) -> tuple[list[int], list[int]]:
    """(leaves from left to right, for each node the leaves that are not under its left child as bits)."""
    order: list[int] = []
    masks = [0] * len(left)
    todo: list[tuple[int, int]] = [(0, -1)]  # (node or ~leaf, -1 before its left side, else leaves seen before that)
    while todo:
        node, before = todo.pop()
        if node < 0:
            order.append(~node)
        elif before < 0:
            todo += [(node, len(order)), (left[node], -1)]
        else:
            under = (1 << len(order)) - (1 << before)
            masks[node] = ~under & EVERY_LEAF
            todo.append((right[node], -1))
    return order, masks


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, found, value in (line.partition("=") for line in text.split("\n")) if found)
