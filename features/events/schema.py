"""The event union as it stands in streams and the archive: one tagged struct a kind, JSON, unknown properties kept.

Wire shapes of the HTTP API are not here; intake turns those into these.
"""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA = 1


def _present() -> int:
    return SCHEMA


class Recorded(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """What every event has. Times are microseconds since the epoch, UTC."""

    schema: int = msgspec.field(default_factory=_present)
    """Written into every record: a default that is left out would mean another number to each version."""
    message_id: str
    customer: str
    """The customer's key: the known id, else the anonymous one; empty for what concerns no customer."""
    time: int
    """When it happened: the client's time after the clock-skew rule, never after `received`."""
    received: int
    user_id: str | None = None
    anonymous_id: str | None = None
    context: dict[str, Any] = {}
    decision_id: str | None = None
    """Set on events that came inside a decision request."""
    via: list[tuple[str, int]] = []
    """The ids that had the event before, each joined to the next and the last to `customer`, and the arrival of each
    link.
    """


class Track(Recorded, frozen=True, kw_only=True, tag="track"):
    event: str
    properties: dict[str, Any] = {}


class Identify(Recorded, frozen=True, kw_only=True, tag="identify"):
    traits: dict[str, Any] = {}


class Page(Recorded, frozen=True, kw_only=True, tag="page"):
    name: str | None = None
    properties: dict[str, Any] = {}


class Screen(Recorded, frozen=True, kw_only=True, tag="screen"):
    name: str | None = None
    properties: dict[str, Any] = {}


class Group(Recorded, frozen=True, kw_only=True, tag="group"):
    group_id: str
    traits: dict[str, Any] = {}


class Alias(Recorded, frozen=True, kw_only=True, tag="alias"):
    previous_id: str


class CatalogPublished(Recorded, frozen=True, kw_only=True, tag="catalog"):
    """A new catalog went live: what training must know of it."""

    version: str
    candidates: list[dict[str, Any]]
    """Each with `id`, `kind`, `category`, `price`, `value`, as in the catalog document."""
    author: str = ""
    comment: str = ""
    document: bytes = b""
    """All that the catalog says, as deflated JSON."""


class SnapshotTaken(Recorded, frozen=True, kw_only=True, tag="snapshot"):
    """All candidates' features were swapped: `received` is the snapshot's time."""

    number: int
    cursors: dict[str, int]
    """Partition -> arrival of the last event in the snapshot."""


class StateRead(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A customer's row: the packed lists, little-endian 8-byte, and the layout they follow."""

    layout: str
    applied: int
    numbers: bytes
    ids: bytes


class Joined(Recorded, frozen=True, kw_only=True, tag="joined"):
    """What was known of `previous` belongs to `customer` now: from the worker of the one id to that of the other."""

    previous: str
    linked: int
    """Arrival of the event that joined them, in the stream of `previous`."""
    state: StateRead
    assignment: str
    """The id under which `previous` was seen first, and when, in microseconds: experiments go by it."""
    assigned: int
    consent: dict[str, tuple[int, bool]] = {}
    traits: dict[str, tuple[int, Any]] = {}


class ConsentGiven(Recorded, frozen=True, kw_only=True, tag="consent"):
    """What a customer allows, or no longer allows: some of `tracking`, `personalisation`, `marketing`."""

    purposes: dict[str, bool]


class Erased(Recorded, frozen=True, kw_only=True, tag="erased"):
    """Everything that is known of the customer is to be forgotten; stands in no archive."""


class Served(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One item of an answer as logged."""

    id: str
    rank: int
    priority: float
    propensity: float | None = None
    value: float
    selection_probability: float | None = None
    """None where no policy picked it alone: of interleaved slates."""
    team: str | None = None
    """Of an interleaved slate: the variant that brought it in; None for what is pinned."""


class Slot(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One placement of a decision as logged."""

    id: str
    limit: int
    candidates: list[str] | None = None
    """Request-supplied candidates; None means those of the catalog."""
    items: list[Served]
    rejected: dict[str, list[str]] = {}
    """Reason -> candidate ids."""
    exploration: float = 0.0
    model: str | None = None
    """`name/version` that scored, None on lower rungs."""
    rung: str = ""
    would: list[Served] = []
    """What an apprentice would have served instead of the default."""
    interleaved: str = ""
    """The experiment of which both variants picked in turn."""
    models: dict[str, str] = {}
    """Of an interleaved slate: variant -> `name/version` that scored for it."""


class Attention(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the ledger of caps, budgets and stock said of a customer, and of all of them."""

    contacts: list[list[int]] = []
    """Of each: when answered and when seen (0: not yet), in microseconds; digests of candidate, category, group,
    placement and channel."""
    first: dict[int, int] = {}
    """Candidate -> when the customer saw it first, in microseconds, of those with a personal window."""
    revision: int = 0
    """Of the customer's part: goes up with every change."""
    used: dict[str, dict[int, int]] = {}
    """Scope and period -> label -> how often, of what all customers share."""
    is_known: bool = True
    """False: the ledger could not be reached, so that nothing that is bounded might be shown."""
    contended: bool = False
    """Reservations were lost twice: what is bounded stayed out."""


class Decision(Recorded, frozen=True, kw_only=True, tag="decision"):
    """What was served and everything needed to serve it again."""

    placements: list[Slot]
    supplied: list[dict[str, Any]] = []
    """Candidates as the request described them (`id`, `features`); those that the catalog did not know have the
    `attributes` that counted for them, as a catalog has them."""
    rung: str
    took: int = 0
    """Microseconds from the request to the answer; 0: not told."""
    catalog_version: str
    snapshot: int
    snapshot_time: int
    state: StateRead | None = None
    """As it was read. None: the customer was unknown, or could not be read (then `rung` is not `model`)."""
    traits: dict[str, Any] = {}
    """The customer's stored ones, as they were read, with those of the inline events."""
    late: list[str] = []
    """Placements whose own deadline left no time for the model."""
    personalised: bool = True
    """False: the customer did not allow to be known by it."""
    readable: bool = True
    """False: the customer's row could not be read."""
    attention: Attention | None = None
    """As it was read; None where nothing that was asked for is bounded."""
    events: list[Track | Identify | Page | Screen | Group | Alias] = []
    """Inline events, applied to a copy of the state for this decision."""
    unit: str = ""
    """The id that experiments on customers hash: under which the customer was seen first; empty: unknown to the log."""
    visited: int = 0
    """Microseconds: when the visitor's own id, which experiments on visitors hash, was seen first; 0 where no weights
    move by it."""
    variants: dict[str, str] = {}
    """Experiment -> variant in force, of the experiments that concern the placements asked for. The global holdout is
    one of them: `holdout` is `held` or `open`."""
    forced: list[str] = []
    """Experiments whose variant the request named."""
    chances: dict[str, float] = {}
    """Experiment -> the probability with which its variant was given, where allocation moves the weights."""
    unassigned: bool = False
    """The customer's row could not be read, so that no experiment could be told: the default, not to be analysed."""
    bot: bool = False
    """Answered as everybody, in no experiment."""
    audience: str = ""
    """The audience that it was made for: the global holdout gets nothing of one, so that none enrols for it."""
    seed: str = ""


class DecisionHead(Recorded, frozen=True, kw_only=True, tag="decision"):
    """A decision without what was served."""


Sent = Track | Identify | Page | Screen | Group | Alias
Said = Sent | Joined | ConsentGiven | Erased | CatalogPublished | SnapshotTaken
Event = Said | Decision
Skimmed = Said | DecisionHead

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_skimmer: msgspec.json.Decoder[Skimmed] = msgspec.json.Decoder(Skimmed)


def encode(event: Event | Skimmed) -> bytes:
    """The event's bytes as they stand in streams and the archive (JSON; bytes fields as base64)."""
    return _encoder.encode(event)


def decode(payload: bytes) -> Event:
    """The event of `encode`'s bytes; unknown fields are passed over. Raises msgspec.ValidationError."""
    return _decoder.decode(payload)


def skim(payload: bytes) -> Skimmed:
    """As `decode`, but passing over what decisions served: most of a stream's bytes, and no input of a feature."""
    return _skimmer.decode(payload)
