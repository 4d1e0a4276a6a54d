"""What goes wrong in a user's hands, in words: a file that is cut, MLflow that does not answer, a disk that is full."""

from __future__ import annotations

import contextlib
import errno
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pyarrow as pa

from features import archive
from models.registry import RegistryError
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home
    from features.settings import Settings

PATIENCE = 5.0
LOCAL = "sqlite:///"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FULL_WORDS = re.compile("disk is full|No space left|File too large|disk I/O error|Cannot write binary data")
"""As libraries say it that have no error number."""


def require_reachable(settings: Settings) -> None:
    """Before hours are spent on a model: raises RegistryError when an MLflow server is named that does not answer, or
    MLflow's database is none."""
    uri = settings.tracking_uri
    if uri.startswith(LOCAL):
        _require_database(Path(uri.removeprefix(LOCAL)))
    if urlsplit(uri).scheme not in ("http", "https"):
        return
    try:
        with urlopen(Request(f"{uri.rstrip('/')}/health"), timeout=PATIENCE):  # noqa: S310  # the scheme is known
            return
    except HTTPError:
        return  # it answers; what it thinks of us is told when something is registered
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise RegistryError(
            f"MLflow at {uri} does not answer ({reason}): start it, or unset MLFLOW_TRACKING_URI for the home's own; "
            "the champion is where it was"
        ) from None


def _require_database(path: Path) -> None:
    if not path.exists():
        return  # it is made
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        raise RegistryError(
            f"MLflow's database {path} cannot be used ({error}): put it back, or move it away; the champion is where "
            "it was"
        ) from None


@contextlib.contextmanager
def read_whole(home: Home) -> Iterator[None]:
    """Turns what a cut or broken archive file raises into a TrainingError that names it; other errors pass."""
    try:
        yield
    except (archive.ArchiveError, pa.ArrowException, OSError) as error:
        if broken := find_broken(home):
            raise TrainingError(
                f"{', '.join(broken)} of the archive cannot be read: put it back, or move it away; the champion is "
                "where it was"
            ) from error
        raise


def find_broken(home: Home) -> list[str]:
    """Archive files whose end is not that of a Parquet file."""
    broken = []
    for file in archive.files(home.archive):
        try:
            archive.count(home.archive, file)
        except (pa.ArrowException, OSError):
            broken.append(str(file.path))
    return broken


@contextlib.contextmanager
def told(settings: Settings) -> Iterator[None]:
    """Turns what a full disk or a lost MLflow raises into a RegistryError; other errors pass."""
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:
        if message := explain(error, settings):
            raise RegistryError(f"{message}; nothing was registered, and the champion is where it was") from error
        raise


def explain(error: BaseException, settings: Settings) -> str | None:
    """What is wrong, if it is one of these; the error's causes are looked through."""
    chain = list(_causes(error))
    for each in chain:
        if (isinstance(each, OSError) and each.errno in FULL) or FULL_WORDS.search(str(each)):
            return f"the disk is full ({settings.home.root}, or where MLflow keeps its artifacts): make room"
    for each in chain:
        if isinstance(each, (PermissionError, NotADirectoryError)):
            return f"{each.filename} cannot be written ({each.strerror})"
        if isinstance(each, sqlite3.Error):
            return f"MLflow's database at {settings.tracking_uri} cannot be used ({each})"
    for each in chain:
        if isinstance(each, ConnectionError) or type(each).__module__.startswith(("requests.", "urllib3.")):
            return f"MLflow at {settings.tracking_uri} was lost while the run was logged"
    for each in chain:
        if type(each).__name__ in ("MlflowException", "RestException"):
            line = str(each).strip().splitlines()[0]
            return f"MLflow at {settings.tracking_uri} refused: {line}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
