"""What logged decisions were made with: catalogs and models by their versions, candidates as of their snapshots."""

from __future__ import annotations

import contextlib
import time
import uuid
import zlib
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from features import archive, past, stream, tenancy
from features.connection import connect
from features.events.schema import CatalogPublished, decode
from features.ids import digest
from features.snapshots import Head
from models.bundle import DEFAULT_NAME, BundleError, load, read_aliases
from service.catalog import reading, versions
from service.catalog.compiled import compile_catalog
from service.catalog.schema import Candidate, Catalog
from service.decisions import frame
from service.dialects.supplied import lay_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from features.events.schema import Decision
    from features.home import Home
    from features.settings import Settings
    from models.bundle import Bundle
    from service.catalog.compiled import Compiled
    from service.decisions.frame import Frame

FLUSH_SECONDS = 30.0


class MissingError(ValueError):
    """What a decision was made with is not kept."""


class Evidence:
    """Reads a home's catalogs and models, each once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.catalog: Callable[[str], Compiled] = cache(self._catalog)
        """By version. Raises MissingError."""
        self.model: Callable[[str], Bundle] = cache(self._model)
        """By `name/version`. Raises BundleError."""

    def _catalog(self, version: str) -> Compiled:
        try:
            catalog, found = versions.open_text(self._home, version, versions.text_of(self._home, version))
        except versions.UnknownVersionError:
            catalog = self._published(version)
            found = reading.version(catalog)
        if found != version:
            raise MissingError(f"catalog {version} reads as {found} to this program, which knows another document")
        return compile_catalog(catalog, version)

    def _published(self, version: str) -> Catalog:
        """As the archive has it, where its text is not kept."""
        for payload in archive.read(self._home.archive, ["payload"], types=["catalog"])["payload"].to_pylist():
            event = decode(payload)
            if isinstance(event, CatalogPublished) and event.version == version and event.document:
                return Catalog.model_validate_json(zlib.decompress(event.document))
        raise MissingError(f"catalog {version} is kept neither in {self._home.catalogs} nor in the archive")

    def _model(self, label: str) -> Bundle:
        return load(self._home.bundles / label)

    def aliases(self) -> dict[str, Bundle]:
        """The models that the aliases of the default name point at now, broken ones left out."""
        found = {}
        for alias, version in read_aliases(self._home.bundles, DEFAULT_NAME).items():
            with contextlib.suppress(BundleError):
                found[alias] = self.model(f"{DEFAULT_NAME}/{version}")
        return found

    def named(self, text: str) -> Bundle:
        """A model by its alias, NAME@ALIAS or NAME/VERSION. Raises BundleError."""
        if "/" in text:
            return self.model(text)
        name, _, alias = text.rpartition("@")
        known = read_aliases(self._home.bundles, name or DEFAULT_NAME)
        if alias not in known:
            raise BundleError(f"no model has the alias {text!r}, only {', '.join(sorted(known)) or 'none is there'}")
        return self.model(f"{name or DEFAULT_NAME}/{known[alias]}")

    def frames(self, decisions: Sequence[Decision]) -> Iterator[tuple[Decision, Callable[[Compiled], Frame]]]:
        """Each decision with what makes frames of its snapshot and a catalog, in the order of the snapshots.

        The historical store must hold the snapshots: see `bring_up`.
        """
        ordered = sorted(decisions, key=lambda one: one.snapshot_time)
        times = sorted({one.snapshot_time for one in ordered})
        rows = past.walk(self._home, times)
        held, framed = -1, None
        for logged in ordered:
            if framed is None or logged.snapshot_time != held:
                held, framed = logged.snapshot_time, _framing(next(rows))
            yield logged, framed(logged)


def _framing(rows: past.Rows) -> Callable[[Decision], Callable[[Compiled], Frame]]:
    built: dict[tuple[str, bool], Frame] = {}

    def of(logged: Decision) -> Callable[[Compiled], Frame]:
        # On rung `static` no snapshot had been read yet.
        head = None if logged.rung == "static" else Head(logged.snapshot, logged.snapshot_time)

        def over(compiled: Compiled) -> Frame:
            key = compiled.version, head is None
            if key not in built:
                known = rows if head is not None else {view: {} for view in past.VIEWS}
                built[key] = frame.build(compiled, head, known["candidate"], known["successors"])
            return _supply(built[key], logged, rows) if logged.supplied else built[key]

        return over

    return of


def _supply(known: Frame, logged: Decision, rows: past.Rows) -> Frame:
    """The frame with the candidates that the request brought and its catalog does not know."""
    described = [one for one in logged.supplied if "attributes" in one and one["id"] not in known.compiled.place]
    unknown = [Candidate.model_validate({"id": one["id"], **one["attributes"]}) for one in described]
    stored = {one.id: rows["candidate"].get(digest(one.id)) for one in unknown}
    return lay_over(known, unknown, stored, logged.supplied)


@contextlib.contextmanager
def bring_up(
    settings: Settings, redis_url: str, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Iterator[None]:
    """An archive with all of the streams and a historical store with all of the archive, which stays for the duration.
    `progress` as in history.
    """
    with connect(redis_url) as redis:
        numbers = range(settings.partitions)
        if not redis.exists(*[stream.lease_key(number) for number in numbers]):
            _catch_up(settings, redis, redis_url)
        else:
            lasts: Any = redis.mget([stream.last_key(number) for number in numbers])
            deadline = time.monotonic() + FLUSH_SECONDS
            while not _is_archived(redis, lasts):
                if time.monotonic() > deadline:
                    raise MissingError("the worker does not archive: see that it runs (kairos doctor), then try again")
                redis.xadd(stream.FLUSH, {"by": "replay-decision"}, maxlen=1000)
                time.sleep(0.05)
    with tenancy.hold(settings.home, partial(tenancy.renew, settings.home, progress)):
        yield


def _is_archived(redis: Any, lasts: list[bytes | None]) -> bool:
    archived = redis.mget([stream.archived_key(number) for number in range(len(lasts))])
    return all(int(until or 0) >= int(last or 0) for until, last in zip(archived, lasts, strict=True))


def _catch_up(settings: Settings, redis: Any, redis_url: str) -> None:
    """In the place of workers, where there are none."""
    from features.leases import hold_all_back
    from features.replay import catch_up
    from features.store import OnlineStore

    with hold_all_back(redis, settings.partitions, f"replay-{uuid.uuid4()}") as lease:
        catch_up(settings, redis, OnlineStore(settings.home, redis_url), lease)
