"""What a file of the archive is called: `day=<UTC day>/<partition>-<first arrival>-<last arrival>.parquet`.

An import's lie in a folder of their own: `import-<digest>/day=…/import-<digest>-<first>-<last>.parquet`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

SUFFIX = ".parquet"
IMPORT = "import-"
DAY = 86_400 * 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"(?P<of>.+?)-(?P<first>-?\d+)-(?P<last>-?\d+)")


class File(msgspec.Struct, frozen=True, order=True):
    """One file, by its path below the archive's location."""

    path: str
    size: int

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.name.removesuffix(SUFFIX)

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


class Span(msgspec.Struct, frozen=True):
    """What a file's name says."""

    of: str
    """A partition, or an import."""
    first: int
    last: int

    @property
    def partition(self) -> int | None:
        """Of live events; None for imported ones."""
        return int(self.of) if self.of.isdecimal() else None


def parse(file: File) -> Span | None:
    """None for a file that somebody else put there: it is read, and left alone otherwise."""
    match = _NAME.fullmatch(file.stem)
    return Span(match["of"], int(match["first"]), int(match["last"])) if match else None


def write_name(of: str, first: int, last: int) -> str:
    """Where the events of one day go."""
    return f"{day_folder(first)}/{of}-{first}-{last}{SUFFIX}"


def day_folder(arrival: int) -> str:
    return f"day={(_EPOCH + timedelta(days=arrival // DAY)).date().isoformat()}"
