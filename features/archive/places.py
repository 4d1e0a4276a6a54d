"""Where an archive lies: a folder of this machine, or what a URL names. Whole files in and out, nothing half written.

A file system that cannot rename gets a file under its final name in one request.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from features.archive.naming import SUFFIX, File

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Location = Path | str
Fill = Callable[[Any], None]
"""Writes a file to what it is given."""
LISTINGS = 10
STALE_SECONDS = 3600.0
"""A file that was begun so long ago and is not in its place is nobody's any more."""


class ArchiveError(ValueError):
    """An archive that cannot be used; the message says why."""


class Place(Protocol):
    """Files by their path below it. Missing ones raise FileNotFoundError."""

    def scan(self) -> list[File]: ...
    def open(self, path: str) -> Any:
        """Something that pyarrow reads from."""

    def put(self, fills: Mapping[str, Fill], under: str = "") -> None:
        """Write files, each by a function that is given where to write to; `under` a new folder, all at once or none
        where the file system can rename.
        """

    def remove(self, paths: list[str]) -> None: ...
    def stamp(self, path: str) -> object:
        """What changes whenever the file does."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Waits until nobody else of this machine changes files that are there."""

    def tidy(self) -> None:
        """Remove what was begun and left by those who died."""


def at(location: Location) -> Place:
    """Raises ArchiveError for a URL that this installation cannot open."""
    text = str(location)
    if text.startswith("file://"):
        return Folder(Path(unquote(urlsplit(text).path)))
    return Bucket(text) if "://" in text else Folder(Path(location))


def list_settled(place: Place) -> list[File]:
    """The files at one moment: a listing while files are merged may miss both the old ones and the new."""
    found = place.scan()
    for _ in range(LISTINGS):
        again = place.scan()
        if again == found:
            break
        found = again
    return found


class Folder:
    """A folder: files are written beside, flushed to the disk and renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def scan(self) -> list[File]:
        return sorted(self._walk(str(self.root), ""))

    def _walk(self, folder: str, below: str) -> Iterator[File]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            path = f"{below}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.name.endswith(SUFFIX):
                with contextlib.suppress(FileNotFoundError):  # merged meanwhile
                    yield File(path, entry.stat().st_size)
            elif entry.is_dir():
                yield from self._walk(entry.path, f"{path}/")

    def open(self, path: str) -> Any:
        return self.root / path

    def put(self, fills: Mapping[str, Fill], under: str = "") -> None:
        if under:
            staged = self.root / f".{under}{_unique()}"
            for path, fill in fills.items():
                _write(staged / path, fill)
            staged.rename(self.root / under)
            _flush(self.root)
            return
        for path, fill in fills.items():
            final = self.root / path
            temporary = final.with_name(f".{final.name}{_unique()}")
            try:
                _write(temporary, fill)
                temporary.replace(final)
            finally:
                temporary.unlink(missing_ok=True)
            _flush(final.parent)

    def remove(self, paths: list[str]) -> None:
        for path in paths:
            (self.root / path).unlink(missing_ok=True)

    def stamp(self, path: str) -> object:
        found = (self.root / path).stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def tidy(self) -> None:
        for path in self.root.rglob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):  # in its place meanwhile
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


class Bucket:
    """What a URL names, through fsspec."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ArchiveError(f"cannot open the archive at {url}: {error}") from error

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def scan(self) -> list[File]:
        self._files.invalidate_cache()
        start = len(self._at(""))
        found = self._files.find(self._root, detail=True)
        return sorted(File(path[start:], info["size"]) for path, info in found.items() if path.endswith(SUFFIX))

    def open(self, path: str) -> Any:
        return self._files.open(self._at(path), "rb")

    def put(self, fills: Mapping[str, Fill], under: str = "") -> None:
        for path, fill in fills.items():
            sink = pa.BufferOutputStream()
            fill(sink)
            self._files.pipe_file(self._at(f"{under}/{path}" if under else path), sink.getvalue().to_pybytes())

    def remove(self, paths: list[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._at(path))

    def stamp(self, path: str) -> object:
        self._files.invalidate_cache()
        return self._files.ukey(self._at(path))

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def tidy(self) -> None:
        pass


def _write(path: Path, fill: Fill) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fill(path)
    _flush(path)


def _flush(path: Path) -> None:
    """To the disk: a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unique() -> str:
    return f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
