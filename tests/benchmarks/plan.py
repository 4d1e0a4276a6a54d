"""What the load process is asked to do and what it answers: JSON both ways, bounded in count and time."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Connections = Annotated[int, msgspec.Meta(ge=1, le=256)]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and the bodies to send it, in turn; a list that is used up starts over. No bodies: GET."""

    name: str
    url: str
    path: str
    bodies: list[str] = []
    expected: str = ""
    """What every good answer contains; one without is counted as `unexpected`, and its latency counts all the same."""
    process: int = 0
    """The server's process, for the account of processor time; 0: not known."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A target's share of one round of an alternating run."""

    target: Target
    block: Count
    warm: int = 3
    """Requests at the start of each block that are sent and not counted: caches went cold in the others' blocks."""


class Alternating(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One client, one request at a time; the targets take turns in blocks, so that noise hits all alike."""

    turns: list[Turn]
    rounds: Count
    seconds: Seconds
    """No new round starts after this."""


class Saturating(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`clients` connections, each sending as soon as it has its answer: throughput."""

    target: Target
    clients: Connections
    seconds: Seconds
    warm_seconds: float = 0.5


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests at a constant rate, whatever the answers do."""

    target: Target
    per_second: Annotated[float, msgspec.Meta(gt=0, le=20_000)]
    connections: Connections = 64
    noted: bool = False
    """Every request is noted by itself."""


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Flows side by side; latency counts from when a request should have started, late senders and queues included."""

    flows: list[Flow]
    seconds: Seconds
    warm_seconds: float = 1.0


class Freshness(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A canary beside a flow of events: send one, then decide until the decision knows it."""

    flow: Flow
    track: Target
    decide: Target
    """Bodies pair with those of `track`: the same customer at the same place."""
    seconds: Seconds
    pause: float = 0.05
    """Seconds between canaries."""
    with_token: bool
    """Wait by `after` instead of asking again and again."""


Plan = Alternating | Saturating | OpenLoop | Freshness


class Sample(msgspec.Struct, kw_only=True):
    """What one target gave."""

    name: str
    latencies: list[float] = []
    """Milliseconds of the answers with status 2xx."""
    lateness: list[float] = []
    """Milliseconds from the intended start until the load process was there to send; open loop only."""
    seconds: float = 0.0
    """Time in which these answers came; for rates."""
    answered: int = 0
    """All answers, those of the warm-up too; saturating only."""
    noted: list[tuple[float, float, bool]] = []
    """Of each request its intended start (time.perf_counter()), milliseconds, and whether the answer was a good one."""
    failures: dict[str, int] = {}
    """Status, or what else went wrong -> count."""
    first_failure: str = ""


class Outcome(msgspec.Struct, kw_only=True):
    samples: list[Sample]
    cpu_share: float
    """Processor time of the load process / elapsed: what the load itself cost of one core."""
