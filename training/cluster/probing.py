"""Whether a cluster's workers are what a training needs: this very program, its libraries, and a view of the home."""

from __future__ import annotations

import hashlib
import platform
import re
import secrets
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from features.aggregates.rows import LAYOUTS
from training.labels import TrainingError

if TYPE_CHECKING:
    from distributed import Client

    from features.home import Home

PACKAGES = ("dask", "distributed", "duckdb", "feast", "lightgbm", "msgspec", "numpy", "pyarrow")
PROGRAM = ("features", "models", "training")


class Found(msgspec.Struct, frozen=True):
    """What one process says of itself."""

    versions: dict[str, str]
    sees: bool
    """Whether it sees what was written into the home a moment ago."""


def look(path: str) -> Found:
    """Runs on each worker."""
    return Found(versions(), Path(path).exists())


@cache
def versions() -> dict[str, str]:
    """Of everything that must be alike for features and trees to be."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "kairos": _fingerprint()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _fingerprint() -> str:
    """Of the program's text and of the declared features."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.blake2b(digest_size=6)
    for package in PROGRAM:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update(" ".join(layout.version for layout in LAYOUTS.values()).encode())
    return digest.hexdigest()


def require_alike(client: Client, home: Home) -> None:
    """Raises TrainingError that names the workers which cannot do the work, and why."""
    home.root.mkdir(parents=True, exist_ok=True)
    token = home.root / f".cluster-{secrets.token_hex(8)}"
    token.touch()
    try:
        answers = client.run(look, str(token), on_error="return")
    finally:
        token.unlink(missing_ok=True)
    mine = versions()
    problems: dict[str, list[str]] = {}
    for worker, answer in answers.items():
        if problem := judge(answer, mine, home):
            problems.setdefault(problem, []).append(worker)
    if problems:
        told = "; ".join(f"{', '.join(sorted(workers))}: {problem}" for problem, workers in problems.items())
        raise TrainingError(f"the cluster cannot train: {told}")


def judge(answer: object, mine: dict[str, str], home: Home) -> str | None:
    """What keeps a worker that answers so from doing the work; None if nothing does."""
    if missing := re.search(r"No module named \\*(['\"])([\w.]+)", str(answer)):  # as the worker tells of its error
        return f"no module {missing[2]!r}: install kairos[cluster] there, of this version"
    if not isinstance(answer, Found):
        return f"it answers {answer!r}"
    other = [
        f"{name} {answer.versions.get(name)} instead of {said}"
        for name, said in mine.items()
        if answer.versions.get(name) != said
    ]
    if other:
        return f"another environment ({', '.join(other)}): install the one that runs here"
    if not answer.sees:
        return f"it does not see {home.root}: mount the home there under the same path (KAIROS_HOME on shared storage)"
    return None
