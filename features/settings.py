"""The environment, read once at an entry point into one frozen object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from features.home import Home

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOME = Path(".kairos")


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
    spill_decisions: int = 100_000
    """Most decisions kept on disk while Redis is away; the rest are counted and lost."""
    max_body_bytes: int = 512_000

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_tracking_uri or self.home.tracking_uri


def load(environment: Mapping[str, str], home: Path | None = None) -> Settings:
    """Settings from `KAIROS_*` and `MLFLOW_TRACKING_URI`; `home` (a command's option) wins over `KAIROS_HOME`.

    Raises SettingsError that names every variable that cannot be read.
    """
    root = home or Path(environment.get("KAIROS_HOME") or DEFAULT_HOME)
    values: dict[str, object] = {"home": Home(root.expanduser().resolve())}
    if uri := environment.get("MLFLOW_TRACKING_URI"):
        values["mlflow_tracking_uri"] = uri
    problems = []
    for field in msgspec.structs.fields(Settings):
        name = f"KAIROS_{field.name.upper()}"
        if field.name == "home" or not (text := environment.get(name)):
            continue
        try:
            values[field.name] = msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{name}={text!r}: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(**values)  # type: ignore[arg-type]  # each value was converted to its field's type above
