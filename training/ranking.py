"""Trees that rank, grown on those that predict: one model whose scores stay near log-odds and whose lists are better.

LambdaMART (Burges 2010, From RankNet to LambdaRank to LambdaMART, section 7) continues from the boosted log loss. Its
gradients sum to zero over each list, so that lists keep their level and one calibration fits them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

if TYPE_CHECKING:
    from models.signature import Signature
    from training.labels import Ints
    from training.parts import Part

TREES, RATE = 150, 0.02
TOP = 10
OWN = ("objective", "metric", "learning_rate")


def refine(
    booster: lightgbm.Booster,
    train: Part,
    validation: Part,
    columns: Ints,
    signature: Signature,
    parameters: dict[str, Any],
    patience: int,
) -> lightgbm.Booster:
    """`booster` and the trees that follow, until the validation lists' NDCG@10 gets no better.

    `columns` are the parts' columns that the signature names.
    """
    shared = {name: value for name, value in parameters.items() if name not in OWN}
    ranking = shared | {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [TOP],
        "learning_rate": RATE,
        "lambdarank_truncation_level": 2 * TOP,
        "lambdarank_norm": False,
    }
    tables: list[lightgbm.Dataset] = []
    for part in (train, validation):
        tables.append(
            lightgbm.Dataset(
                part.matrix[:, columns],
                part.rewarded.astype(np.float32),
                group=np.unique(part.owner, return_counts=True)[1],
                feature_name=signature.names,
                categorical_feature=signature.categorical,
                params=ranking,
                reference=tables[0] if tables else None,
            )
        )
    refined = lightgbm.train(
        ranking,
        tables[0],
        num_boost_round=TREES,
        init_model=booster,
        valid_sets=[tables[1]],
        callbacks=[lightgbm.early_stopping(patience, verbose=False)],
    )
    return lightgbm.Booster(model_str=refined.model_to_string(num_iteration=refined.best_iteration))
