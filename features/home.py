"""The home folder: every path that Kairos writes to, and nothing that reads or writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""Layout of the home folder; a program refuses a home of a higher number."""


class Home(msgspec.Struct, frozen=True):
    """One deployment's data. Paths are absolute; folders are made by whoever writes into them."""

    root: Path
    archive_url: str | None = None
    """Where the event archive is instead of in the folder, as fsspec writes it (s3://bucket/folder)."""

    @property
    def version_file(self) -> Path:
        return self.root / "VERSION"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    @property
    def run_file(self) -> Path:
        """Where a running `kairos up` says how to reach its parts (mode 0600: it holds Redis' password)."""
        return self.root / "run.json"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def events(self) -> Path:
        """The event archive's folder."""
        return self.root / "archive" / "events"

    @property
    def archive(self) -> Path | str:
        """Where the event archive is: Parquet files by day, named by partition and range of arrival."""
        return self.archive_url or self.events

    @property
    def history(self) -> Path:
        """The historical store: one folder of Parquet files a feature view."""
        return self.root / "history"

    @property
    def registry(self) -> Path:
        """Feast's registry."""
        return self.root / "registry.db"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.root / "mlflow" / "artifacts"

    @property
    def bundles(self) -> Path:
        """Exported models: `<name>/<version>/` and `<name>/aliases.json`, all that a service reads."""
        return self.root / "bundles"

    @property
    def health(self) -> Path:
        """What was last found of each model's health, as Prometheus reads it."""
        return self.root / "health"

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.yaml"

    @property
    def catalogs(self) -> Path:
        """The catalog's versions and their history."""
        return self.root / "catalogs"

    @property
    def rejected(self) -> Path:
        """Rows that an import refused, with reasons."""
        return self.root / "rejected"

    @property
    def spill(self) -> Path:
        """Decisions made while Redis was away, appended to the stream when it is back."""
        return self.root / "spill"
