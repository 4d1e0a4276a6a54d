"""The models that aliases name, loaded and warmed up. A broken one is refused, and what served before it stays."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from models.bundle import DEFAULT_NAME, Bundle, BundleError, load, read_aliases
from service import metrics
from service.files import stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)


class Bundles:
    """Follows the folder of bundles; `models` and `problems` are replaced whole, never changed."""

    def __init__(self, folder: Path, warm_up: Callable[[Bundle], None]) -> None:
        """`warm_up` decides with a new model before it serves."""
        self._folder, self._warm_up = folder, warm_up
        self._loaded: dict[Path, Bundle] = {}
        self._refused: dict[Path, tuple[str, str]] = {}
        self.models: dict[str, Bundle] = {}
        """By `name@alias`; models of the default name, and an only one, by their alias alone too."""
        self.problems: dict[str, str] = {}

    def refresh(self) -> None:
        """Take up what has changed."""
        names = sorted(path.name for path in self._folder.iterdir() if path.is_dir()) if self._folder.is_dir() else []
        models: dict[str, Bundle] = {}
        problems: dict[str, str] = {}
        for name in names:
            found = self._resolve(name, problems)
            models |= {f"{name}@{alias}": bundle for alias, bundle in found.items()}
            if name == DEFAULT_NAME or len(names) == 1:
                models |= found
        for part, why in problems.items():
            if self.problems.get(part) != why:
                log.error("%s is refused, the old one stays: %s", part, why)
                metrics.REFUSED.labels("model").inc()
        if self.models:  # not those that a process starts with
            self._time(models)
        self.models, self.problems = models, problems
        used = {id(bundle) for bundle in models.values()}
        self._loaded = {folder: bundle for folder, bundle in self._loaded.items() if id(bundle) in used}

    def _time(self, models: dict[str, Bundle]) -> None:
        """How long it took until what aliases name now serves."""
        for name in {key.partition("@")[0] for key, model in models.items() if "@" in key}:
            before = {key: id(self.models.get(key)) for key in models if key.startswith(f"{name}@")}
            if any(before[key] != id(models[key]) for key in before):
                with contextlib.suppress(OSError):
                    moved = (self._folder / name / "aliases.json").stat().st_mtime
                    metrics.MODEL_SWAP_SECONDS.observe(max(time.time() - moved, 0.0))

    def _resolve(self, name: str, problems: dict[str, str]) -> dict[str, Bundle]:
        """Alias -> model; adds to `problems` what is refused."""
        before = {key.partition("@")[2]: model for key, model in self.models.items() if key.startswith(f"{name}@")}
        try:
            aliases = read_aliases(self._folder, name)
        except BundleError as error:
            problems[f"aliases of {name}"] = str(error)
            return before
        found = {}
        for alias, version in aliases.items():
            try:
                found[alias] = self._open(self._folder / name / version)
            except BundleError as error:
                problems[f"model {name}/{version}"] = str(error)
                if alias in before:
                    found[alias] = before[alias]
        return found

    def _open(self, folder: Path) -> Bundle:
        """The bundle in a folder, loaded and warmed up once. Raises BundleError, for a refused one until it changes."""
        if folder in self._loaded:
            return self._loaded[folder]
        description = stamp(folder / "bundle.json")
        refused, why = self._refused.get(folder, (None, ""))
        if refused == description:
            raise BundleError(why)
        try:
            bundle = load(folder)
            self._warm_up(bundle)
        except Exception as error:  # whatever is wrong with it: a broken model must not take the service down
            self._refused[folder] = (description, str(error))
            raise BundleError(str(error)) from error
        self._loaded[folder] = bundle
        log.info("model %s is loaded and warm", bundle.label)
        return bundle
