"""A randomised test of Kairos' own log: the customers of two variants, as they were when they were first in it.

Counted are exposures, never decisions; left out is who met both variants, was forced, or whose row could not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import archive
from features.aggregates.columns import close, decode_rows
from features.aggregates.declared import VIEWS
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.schema import Decision, Track, decode
from models.matrix import device_of
from models.referrers import referrer_of
from models.uplift import UpliftError
from training import logged
from training.labels import DAY, ORDERED, SECOND
from training.rewards import payloads, read_behaviour
from training.uplift.files import encode
from training.uplift.groups import Trial

if TYPE_CHECKING:
    from features.home import Home
    from training.labels import Floats

HOLDOUT, OPEN, HELD = "holdout", "open", "held"
"""The global holdout stands in decisions as an experiment of two variants."""


class Enrolled(msgspec.Struct, frozen=True):
    """A customer's first seen decision in the experiment."""

    decision: Decision
    at: int
    """When it was seen, in microseconds."""
    variant: str


def read(
    home: Home,
    experiment: str = HOLDOUT,
    treated: str = OPEN,
    control: str = HELD,
    outcome: str = ORDERED,
    within: int = 7 * DAY,
) -> Trial:
    """Customers of the two variants; the outcome is 1 where the event came `within` microseconds of the first exposure.

    Only whose time is over by the archive's end. Raises UpliftError where nobody is in the experiment.
    """
    enrolled = enrol(home, experiment, (treated, control))
    times, until = _read_outcomes(home, outcome)
    kept = {unit: it for unit, it in enrolled.items() if it.at + within <= until}
    if not kept:
        found = f"{len(enrolled):,} customers are in it, none for long enough" if enrolled else "nobody is in it"
        raise UpliftError(f"experiment {experiment!r}, variants {treated!r} and {control!r}: {found}")
    columns = _describe([it.decision for it in kept.values()])
    matrix, categories = encode(columns)
    return Trial(
        units=list(kept),
        matrix=matrix,
        names=list(columns),
        categories=categories,
        treated=np.array([it.variant == treated for it in kept.values()]),
        outcome=np.array(
            [float(_happened(times.get(it.decision.customer), it.at, within)) for it in kept.values()], np.float64
        ),
    )


def enrol(home: Home, experiment: str, variants: tuple[str, str]) -> dict[str, Enrolled]:
    """Customer -> their first exposure."""
    behaviour = read_behaviour(home)
    names = list(behaviour.names.decisions)
    decision, *_, when = behaviour.exposures.columns
    seen: dict[str, int] = {}
    for number, time in zip(decision.tolist(), when.tolist(), strict=True):
        seen[names[number]] = min(time, seen.get(names[number], time))
    first: dict[str, Enrolled] = {}
    mixed: set[str] = set()
    for decision in logged.read_decisions(home):
        variant, at = decision.variants.get(experiment), seen.get(logged.id_of(decision))
        if variant is None or at is None or experiment in decision.forced or decision.unassigned:
            continue
        unit = decision.unit or decision.customer
        known = first.get(unit)
        if known is not None and known.variant != variant:
            mixed.add(unit)
        if known is None or at < known.at:
            first[unit] = Enrolled(decision, at, variant)
    return {unit: it for unit, it in first.items() if unit not in mixed and it.variant in variants}


def _read_outcomes(home: Home, event: str) -> tuple[dict[str, Floats], int]:
    """(when each customer had the event, the end of the archive), in microseconds."""
    times: dict[str, list[int]] = {}
    until = 0
    for payload in payloads(archive.read(home.archive, ["payload"], types=["track"])):
        track = decode(payload)
        if isinstance(track, Track):
            until = max(until, track.received)
            if track.event == event:
                times.setdefault(track.customer, []).append(track.time)
    return {customer: np.sort(np.array(found, np.float64)) for customer, found in times.items()}, until


def _happened(times: Floats | None, at: int, within: int) -> bool:
    if times is None:
        return False
    place = int(np.searchsorted(times, at, side="left"))
    return place < len(times) and times[place] <= at + within


def _describe(decisions: list[Decision]) -> dict[str, list[str | None]]:
    """What was known of each customer, as logged: every feature that is about nothing but the customer, as texts."""
    layout = LAYOUTS["customer"]
    unknown = pack(blank(layout, ""))
    packed = [
        (np.frombuffer(it.state.numbers), np.frombuffer(it.state.ids, np.int64))
        if it.state is not None and it.state.layout == layout.version
        else unknown
        for it in decisions
    ]
    columns = decode_rows(layout, packed)
    closed = close(columns, np.array([it.time / SECOND for it in decisions]))
    codes = {name for it in VIEWS["customer"] if it.kind.categorical for name in it.outputs}
    found: dict[str, list[str | None]] = {
        name: [None if np.isnan(value) else repr(value) for value in values.tolist()]
        for name, values in closed.items()
        if name not in codes
    }
    found["device"] = [device_of(it.context) or None for it in decisions]
    found["referrer"] = [referrer_of(it.context) or None for it in decisions]
    return {name: values for name, values in found.items() if len(set(values)) > 1}
