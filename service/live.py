"""What an API process holds and swaps whole: the frame (catalog and snapshot) and the models. It follows the catalog
file, the snapshots in Redis and the bundles' aliases; what is broken there is reported and the old one stays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import redis.asyncio
from redis import RedisError

from features import snapshots
from features.documents import DocumentError
from features.streaming import StoredRow, parse_field
from models.bundle import DEFAULT_NAME, Bundle, BundleError, load, read_aliases
from service import metrics
from service.catalog import reading
from service.catalog.compiled import Compiled, compile_catalog
from service.decisions import frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from features.settings import Settings

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.5
REDIS_TIMEOUT = 2.0


class Live:
    """The current frame and models of one process."""

    def __init__(self, settings: Settings, redis_url: str, warm_up: Callable[[frame.Frame, Bundle], None]) -> None:
        """Reads the catalog. Raises DocumentError if it is broken: a service does not start without one.

        `warm_up` decides with a new model before it is swapped in.
        """
        self._settings = settings
        self._redis = redis.asyncio.Redis.from_url(
            redis_url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT
        )
        self._warm_up = warm_up
        self._rows: dict[str, dict[int, StoredRow]] = {"candidate": {}, "successors": {}}
        self._head: snapshots.Head | None = None
        self._position = b"0-0"
        self._catalog_stamp = _stamp(settings.home.catalog)
        self._refused: dict[str, str] = {}
        self._bundles: dict[str, Bundle] = {}
        self.compiled: Compiled = compile_catalog(*reading.read(settings.home.catalog))
        self.frame = frame.build(self.compiled, None, {}, {})
        self.models: dict[str, Bundle] = {}
        self.problems: dict[str, str] = {}
        """What is refused at the moment, by part."""

    async def follow(self) -> None:
        """Take up changes until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(FOLLOW_SECONDS)

    async def refresh(self) -> None:
        """Take up what has changed since the last time."""
        changed = self._read_catalog()
        try:
            changed |= await self._read_snapshot()
            self.problems.pop("snapshot", None)
        except (RedisError, OSError) as error:
            self.problems["snapshot"] = f"Redis does not answer: {error}"
        if changed:
            # In a thread: a catalog of thousands takes milliseconds, and requests go on meanwhile.
            self.frame = await asyncio.to_thread(
                frame.build, self.compiled, self._head, dict(self._rows["candidate"]), dict(self._rows["successors"])
            )
        await asyncio.to_thread(self._read_models)
        if self._head is not None:
            metrics.SNAPSHOT_AGE.set(max(time.time() - self._head.time / 1e6, 0.0))

    async def close(self) -> None:
        await self._redis.aclose()

    def _read_catalog(self) -> bool:
        stamp = _stamp(self._settings.home.catalog)
        if stamp == self._catalog_stamp:
            return False
        self._catalog_stamp = stamp
        try:
            catalog, version = reading.read(self._settings.home.catalog)
        except DocumentError as error:
            log.warning("the catalog stays at %s: %s", self.compiled.version, error)
            self.problems["catalog"] = str(error)
            metrics.REFUSED.labels("catalog").inc()
            return False
        self.problems.pop("catalog", None)
        self.compiled = compile_catalog(catalog, version)
        log.info("catalog %s: %d candidates", version, len(self.compiled.candidates))
        return True

    async def _read_snapshot(self) -> bool:
        if self._head is None:
            return await self._read_whole()
        found: Any = await self._redis.xread({snapshots.CHANGES: self._position}, count=snapshots.KEPT_CHANGES)
        changes = [(entry, snapshots.decode_change(fields[b"c"])) for entry, fields in found[0][1]] if found else []
        for entry, change in changes:
            if change.head.number > self._head.number + 1:
                return await self._read_whole()  # we are behind what the stream still holds
            self._position = entry
            if change.head.number > self._head.number:
                self._take(change.rows)
                self._head = change.head
        return bool(changes)

    async def _read_whole(self) -> bool:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(snapshots.HEAD)
            pipe.hgetall(snapshots.ROWS)
            pipe.xrevrange(snapshots.CHANGES, count=1)
            head, rows, last = await pipe.execute()
        self._rows = {"candidate": {}, "successors": {}}
        self._take({field.decode(): payload for field, payload in rows.items()})
        self._head = snapshots.decode_head(head) if head else snapshots.Head(0, 0)
        self._position = last[0][0] if last else b"0-0"
        return True

    def _take(self, rows: dict[str, bytes]) -> None:
        for field, payload in rows.items():
            if (parsed := parse_field(field.encode())) is not None:
                view, key = parsed
                self._rows[view][key] = snapshots.decode_stored(payload)

    def _read_models(self) -> None:
        bundles = self._settings.home.bundles
        names = sorted(path.name for path in bundles.iterdir() if path.is_dir()) if bundles.is_dir() else []
        models: dict[str, Bundle] = {}
        for name in names:
            try:
                aliases = read_aliases(bundles, name)
            except BundleError as error:
                self._refuse(name, str(error))
                models |= {alias: bundle for alias, bundle in self.models.items() if bundle.description.name == name}
                continue
            for alias, version in aliases.items():
                bundle = self._bundle(bundles / name / version) or self.models.get(f"{name}@{alias}")
                if bundle is not None:
                    models[f"{name}@{alias}"] = bundle
                    if name == DEFAULT_NAME or len(names) == 1:
                        models[alias] = bundle
        self.models = models
        used = {id(bundle) for bundle in models.values()}
        self._bundles = {path: bundle for path, bundle in self._bundles.items() if id(bundle) in used}

    def _bundle(self, folder: Path) -> Bundle | None:
        """The bundle in a folder, loaded and warmed up once; None if it is refused."""
        path = str(folder)
        if path in self._bundles or self._refused.get(path) == _stamp(folder / "bundle.json"):
            return self._bundles.get(path)
        try:
            bundle = load(folder)
            self._warm_up(self.frame, bundle)
        except Exception as error:  # whatever is wrong with it: a broken model must not take the service down
            self._refused[path] = _stamp(folder / "bundle.json")
            self._refuse(f"model {folder.parent.name}/{folder.name}", str(error))
            return None
        self._bundles[path] = bundle
        self._refused.pop(path, None)
        self.problems = {part: why for part, why in self.problems.items() if not part.startswith("model ")}
        log.info("model %s is loaded and warm", bundle.label)
        return bundle

    def _refuse(self, part: str, why: str) -> None:
        log.error("%s is refused, the old one stays: %s", part, why)
        self.problems[part] = why
        metrics.REFUSED.labels("model").inc()


def _stamp(path: Path) -> str:
    """Changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"
