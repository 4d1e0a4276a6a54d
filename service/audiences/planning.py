"""What all customers of an audience share: its rule, its models, and a pool without what only a page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from service.audiences.files import AudienceError
from service.catalog.expressions import ExpressionError, Formula, compile_formula
from service.decisions import pools
from service.decisions.schema import AskedPlacement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.bundle import Bundle
    from service.decisions.frame import Frame
    from service.decisions.pools import Pool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What all customers of an audience share."""

    id: str
    placement: str
    at: int
    """When it is to be sent, and as of when features are closed (microseconds)."""
    frame: Frame
    models: Mapping[str, Bundle]
    formula: Formula | None
    asked: AskedPlacement
    explain: bool
    """Whether the file says why."""


def plan(
    audience: str,
    placement: str,
    where: str | None,
    at: int,
    frame: Frame,
    models: Mapping[str, Bundle],
    explain: bool = False,
) -> Plan:
    """Raises AudienceError for a placement or a rule that is not there or wrong.

    No placement's default competes: it is what a page shows when nothing else may be, no cap counts it, and nobody is
    written to for that.
    """
    compiled = frame.compiled
    if placement not in compiled.placements:
        known = ", ".join(compiled.placements)
        raise AudienceError(f"there is no placement {placement!r} in the catalog, only {known}", "placement")
    try:
        formula = None if where is None else compile_formula(where, "rule")
    except ExpressionError as error:
        raise AudienceError(f"the rule {where!r} is wrong: {error}", "where") from error
    defaults = [compiled.place[one.default] for one in compiled.placements.values()]

    def without_defaults(pool: Pool) -> Pool:
        return pools.build(compiled, pool.placement, pool.places[~np.isin(pool.places, defaults)])

    varied = {key: without_defaults(pool) if key[2] == placement else pool for key, pool in frame.varied.items()}
    own = {**frame.pools, placement: without_defaults(frame.pools[placement])}
    return Plan(
        id=audience,
        placement=placement,
        at=at,
        frame=msgspec.structs.replace(frame, pools=own, varied=varied),
        models=models,
        formula=formula,
        asked=AskedPlacement(id=placement),
        explain=explain,
    )
