"""The role that one worker has at a time: it merges candidates into snapshots, and puts a marker of each snapshot and
every new catalog into the stream, so that training knows both.
"""

from __future__ import annotations

import logging
import time
import zlib
from typing import TYPE_CHECKING, Any

from features import archive, stream
from features.documents import DocumentError
from features.events.schema import CatalogPublished, encode
from features.leases import Lease
from features.snapshots import Snapshotter
from service.catalog import versions
from service.catalog.compiled import attribute
from service.files import stamp

if TYPE_CHECKING:
    from redis import Redis

    from features.settings import Settings
    from features.store import OnlineStore
    from service.catalog.schema import Catalog
    from service.catalog.versions import Publication

log = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 1.0
LEASE = "kairos:{snapshot}:lease"
CATALOG_KEY = "kairos:catalog"
"""Version of the catalog that was published last."""


class Publisher:
    """The role, taken when it is free."""

    def __init__(self, settings: Settings, redis: Redis, store: OnlineStore, owner: str) -> None:
        self._settings, self._redis, self._store = settings, redis, store
        self._lease = Lease(redis, LEASE, owner)
        self._append: Any = redis.register_script(stream.APPEND.text)
        self._snapshotter: Snapshotter | None = None
        self._catalog_stamp = ""
        self._due = 0.0

    def reset(self) -> None:
        """Forget what may be ahead of Redis."""
        self._snapshotter = None
        self._due = 0.0

    def release(self) -> None:
        """Let another worker have the role."""
        if self._snapshotter:
            self._lease.release()
            self._snapshotter = None

    def publish(self) -> None:
        """What is due, if this worker has the role. Raises LeaseLostError."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + SNAPSHOT_SECONDS
        if not self._lease.keep():
            self._snapshotter = None
            return
        self._lease.check()
        if self._snapshotter is None:
            numbers = [archive.IMPORTED, *range(self._settings.partitions)]
            self._snapshotter = Snapshotter(self._redis, self._store, numbers)
        self._publish_catalog()
        self._snapshotter.refresh(time.time_ns() // 1000)

    def _publish_catalog(self) -> None:
        found = stamp(self._settings.home.catalog)
        if found == self._catalog_stamp:
            return
        try:
            catalog, version = versions.read(self._settings.home)
        except DocumentError:
            self._catalog_stamp = found  # the API tells; what was published last stays
            return
        live = versions.note(self._settings.home, version)  # also what was put back before anyone saw it change
        if self._redis.get(CATALOG_KEY) != version.encode():
            event = publication(catalog, live, time.time_ns() // 1000)
            self._send(event.message_id, encode(event))
            self._redis.set(CATALOG_KEY, version)
            log.info("catalog %s is published", version)
        self._catalog_stamp = found

    def _send(self, message_id: str, payload: bytes) -> None:
        partition = stream.partition_of("", self._settings.partitions)
        keys, arguments = stream.append_arguments(partition, [stream.Message(message_id, payload)], time.time())
        self._append(keys=keys, args=arguments)


def publication(catalog: Catalog, published: Publication, now: int) -> CatalogPublished:
    """The event of a catalog that went live: what training joins with its candidates, and the whole document."""
    said = catalog.model_dump_json(exclude_defaults=True, by_alias=True)
    return CatalogPublished(
        message_id=f"catalog:{published.version}:{now}",
        customer="",
        time=now,
        received=now,
        version=published.version,
        author=published.author,
        comment=published.comment,
        document=zlib.compress(said.encode()),
        candidates=[
            {
                "id": candidate.id,
                "kind": candidate.kind,
                "title": candidate.title,
                "category": candidate.category,
                "price": candidate.price,
                "value": attribute(candidate),
                "weight": candidate.weight,
            }
            for candidate in catalog.candidates
        ],
    )
