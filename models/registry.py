"""The registry of models: MLflow's, from which a version is exported as a bundle that the service reads.

The only module of this package that imports MLflow, and only when something is registered.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import lightgbm
import msgspec

from models import bundle, moves

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from mlflow import MlflowClient

    from features.settings import Settings
    from models.bundle import Description

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # the model needs LightGBM alone, not the folder that it was trained from
    "MLFLOW_LOG_UV_FILES": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""MLflow looks at these when it is imported."""


class RegistryError(ValueError):
    """A version that cannot be registered here; the message says what to do."""


def connect(settings: Settings) -> MlflowClient:
    """A client of the tracking server or of the home's own database, which is made if it is missing."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # SQLAlchemy's and MLflow's own deprecations, about which nobody here can do anything.
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.lightgbm

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        if settings.tracking_uri == settings.home.tracking_uri:
            settings.home.artifacts.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(settings.tracking_uri)
        mlflow.set_registry_uri(settings.tracking_uri)
        return mlflow.MlflowClient(settings.tracking_uri, settings.tracking_uri)


def open_experiment(client: MlflowClient, settings: Settings, name: str) -> str:
    """The id of the experiment, which is made if it is missing; a local database keeps artifacts in the home."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = urlsplit(settings.tracking_uri).scheme not in ("http", "https", "databricks")
    return str(client.create_experiment(name, settings.home.artifacts.as_uri() if local else None))


def log_model(booster: lightgbm.Booster, description: Description, example: pd.DataFrame) -> str:
    """Log the model into the active run, in the lightgbm flavour, with what the bundle says beside it; its URI."""
    import mlflow.lightgbm
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        info = mlflow.lightgbm.log_model(
            booster,
            name="model",
            signature=infer_signature(example, booster.predict(example)),
            input_example=example,
            pip_requirements=[f"lightgbm=={lightgbm.__version__}"],
            metadata={"kairos": msgspec.to_builtins(description)},
        )
    return str(info.model_uri)


def promote(
    client: MlflowClient,
    bundles: Path,
    alias: str,
    description: Description,
    booster: lightgbm.Booster,
    model_uri: str,
    tags: dict[str, str],
    value: lightgbm.Booster | None = None,
) -> Description:
    """Register a version, export it, and point the alias at it; all of it or nothing."""
    described = register(client, bundles, description, booster, model_uri, tags, value)
    try:
        point(client, bundles, described.name, alias, described.version)
    except BaseException:
        withdraw(client, bundles, described.name, described.version)
        raise
    return described


def register(
    client: MlflowClient,
    bundles: Path,
    description: Description,
    booster: lightgbm.Booster,
    model_uri: str,
    tags: dict[str, str],
    value: lightgbm.Booster | None = None,
) -> Description:
    """Make a version and export it as a bundle that was read back; the description with its version.

    `value` are the trees of what a reward brings, where the description has an appraisal. If a step fails, what the
    steps before did is undone. Raises RegistryError where a folder is in the way.
    """
    name = description.name
    bundle.read_aliases(bundles, name)  # a broken file is told before anything is made
    version = _create_version(client, name, model_uri, description.run_id, tags)
    described = msgspec.structs.replace(description, version=version)
    folder = bundles / name / version
    if folder.exists():
        _delete_version(client, name, version)
        raise RegistryError(f"{folder} holds a model of another registry: move it away, then train again")
    try:
        valued = None if value is None else value.model_to_string()
        bundle.save(folder, described, booster.model_to_string(), valued)
        return bundle.load(folder).description
    except BaseException:
        withdraw(client, bundles, name, version)
        raise


def withdraw(client: MlflowClient, bundles: Path, name: str, version: str) -> None:
    """Take a version that nothing points at out of the registry and off the disk, as far as that can be done."""
    _delete_version(client, name, version)
    shutil.rmtree(bundles / name / version, ignore_errors=True)


def point(
    client: MlflowClient,
    bundles: Path,
    name: str,
    alias: str,
    version: str,
    action: moves.Action = "promoted",
    reason: str = "",
) -> None:
    """Point an alias at a version: in MLflow, in the list of moves, and last in the file that services read.

    If a step fails, what the steps before did is undone.
    """
    before = bundle.read_aliases(bundles, name).get(alias)
    written: int | None = None
    try:
        client.set_registered_model_alias(name, alias, version)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        move = moves.Move(time=now, alias=alias, version=version, before=before or "", action=action, reason=reason)
        written = moves.append(bundles, name, move)
        bundle.write_alias(bundles, name, alias, version)
    except BaseException:
        if written is not None:
            moves.cut(bundles, name, written)
        _restore(client, name, alias, before)
        raise


def _create_version(client: MlflowClient, name: str, model_uri: str, run_id: str, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # it exists; what else may be wrong comes up with the version
        client.create_registered_model(name)
    model_id = model_uri.removeprefix("models:/")
    made = client.create_model_version(name, source=model_uri, run_id=run_id, tags=tags, model_id=model_id)
    return str(made.version)


def _restore(client: MlflowClient, name: str, alias: str, before: str | None) -> None:
    with suppress(Exception):  # the failure that led here is the one to tell
        if before is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, before)


def _delete_version(client: MlflowClient, name: str, version: str) -> None:
    with suppress(Exception):  # as above
        client.delete_model_version(name, version)
