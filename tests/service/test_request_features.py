"""What a request says of its moment, as features of its decision."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from features.ids import digest
from features.snapshots import Head
from service.catalog.compiled import compile_catalog
from service.catalog.schema import Catalog
from service.decisions import frame, pools
from service.decisions.question import Question
from service.decisions.schema import AskedPlacement
from service.decisions.scoring import features_of, open_customer
from tests.service import shop

NOW = 1_800_000_000_000_000
"""A Friday, 09:00 in Berlin."""


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (
            {"device": "mobile", "page": {"url": "https://a.example/x", "referrer": "https://www.google.com/"}},
            {"hour": 9.0, "weekday": 4.0, "device": digest("mobile"), "referrer": digest("search")},
        ),
        (
            {"timezone": "Asia/Tokyo", "campaign": {"medium": "email"}},
            {"hour": 17.0, "weekday": 4.0, "device": 0, "referrer": digest("email")},
        ),
        ({}, {"hour": 9.0, "weekday": 4.0, "device": 0, "referrer": 0}),
    ],
    ids=["search", "email", "nothing"],
)
def test_the_context_of_a_request_gives_the_features_of_its_moment(
    context: dict[str, Any], expected: dict[str, float]
) -> None:
    compiled = compile_catalog(Catalog.model_validate(copy.deepcopy(shop.CATALOG)), "v")
    question = Question(
        decision_id="d-1",
        now=NOW,
        placements=[AskedPlacement(id="grid")],
        context=context,
        flags={},
        state=None,
        occurrences=[],
        frame=frame.build(compiled, Head(1, NOW), {}, {}),
        models={},
        rung="model",
    )
    pool = pools.build(compiled, compiled.placements["grid"], np.arange(3))
    features = features_of(question, open_customer(question), pool)
    assert {name: features[f"context__{name}"].tolist() for name in expected} == {
        name: [value] * 3 for name, value in expected.items()
    }
