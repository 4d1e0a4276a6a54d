"""The environment, read once at an entry point into one frozen object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from features.home import Home

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOME = Path(".kairos")
LISTS = frozenset({"write_keys", "admin_keys"})
"""Settings of several texts, with commas between them."""


class SettingsError(ValueError):
    """Variables that cannot be read; the message names each."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment may set, by `KAIROS_<NAME>`; durations in milliseconds unless the name says otherwise."""

    home: Home
    redis_url: str | None = None
    """`redis://[user:password@]host:port[/db]`; None starts the embedded server."""
    mlflow_tracking_uri: str | None = None
    deadline_ms: int = 50
    explain_deadline_ms: int = 2000
    partitions: int = 4
    archive_seconds: float = 10.0
    """Longest time that an event stays in the stream only, before it is in an archive file too."""
    shadow_share: float = 0.05
    """Of the decisions, how many a challenger scores as well, after they were answered; 0: none."""
    health_seconds: float = 3600.0
    """From one look at the champions' health to the next, at least; 0: only `kairos models health` looks."""
    spill_decisions: int = 100_000
    """Most decisions kept on disk while Redis is away; the rest are counted and lost."""
    max_body_bytes: int = 512_000
    """Of a request, inflated: Segment's 500 KB."""
    write_keys: tuple[str, ...] = ()
    """Keys that may send events, with commas between; without any, every key and none will do."""
    admin_keys: tuple[str, ...] = ()
    """Keys that may see and erase customers, with commas between; without any, only this machine may."""
    dead_letters: int = 10_000
    """Most events kept that were not taken, of at most 32 KB each; the oldest go first."""

    @property
    def archive_url(self) -> str | None:
        """Where the event archive is, as fsspec writes it (s3://bucket/folder, file:///folder); else in the home."""
        return self.home.archive_url

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_tracking_uri or self.home.tracking_uri


def load(environment: Mapping[str, str], home: Path | None = None) -> Settings:
    """Settings from `KAIROS_*` and `MLFLOW_TRACKING_URI`; `home` (a command's option) wins over `KAIROS_HOME`.

    Raises SettingsError that names every variable that cannot be read.
    """
    root = home or Path(environment.get("KAIROS_HOME") or DEFAULT_HOME)
    archive_url = environment.get("KAIROS_ARCHIVE_URL") or None
    values: dict[str, object] = {"home": Home(root.expanduser().resolve(), archive_url)}
    if uri := environment.get("MLFLOW_TRACKING_URI"):
        values["mlflow_tracking_uri"] = uri
    problems = []
    for field in msgspec.structs.fields(Settings):
        name = f"KAIROS_{field.name.upper()}"
        if field.name == "home" or not (text := environment.get(name)):
            continue
        value = [key for part in text.split(",") if (key := part.strip())] if field.name in LISTS else text
        if value == []:
            problems.append(f"{name}={text!r}: holds nothing but commas")
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{name}={text!r}: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(**values)  # type: ignore[arg-type]  # each value was converted to its field's type above
