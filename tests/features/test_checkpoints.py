"""A replay goes on from what the last one has left, to the same states as one of everything."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import pytest

from features import archive, checkpoints, erasure, replay
from features.store import OnlineStore
from tests.features.behaviour import CUSTOMERS, DAY, behave
from tests.features.deployment import Deployment, content, deployed, now
from tests.features.test_history import import_events
from tests.features.test_identity import IDS, OWNERS, live

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.embedded import Server

EVERYONE = [*CUSTOMERS, *IDS]


@pytest.fixture
def deployment(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """With history that would count as much, and is read by several processes."""
    monkeypatch.setattr(replay, "MUCH", 0)
    with deployed(redis_server, tmp_path_factory) as deployment:
        import_events(deployment.home, behave(1, 400, now() - DAY))
        deployment.live_on(random.Random(1), live(2, 800, OWNERS))
        deployment.drain()
        replay.replay(deployment.settings, deployment.url)
        yield deployment


def online(deployment: Deployment) -> list[object]:
    rows = OnlineStore(deployment.home, deployment.url).load_customers(EVERYONE)
    customers = [
        (*content(row), row.owner, row.linked, row.assignment, row.assigned, row.consent) for row in rows.values()
    ]
    return [customers, {key: content(row) for key, row in deployment.snapshot_rows().items()}]


def live_on(deployment: Deployment, seed: int) -> None:
    deployment.open()
    fresh = [
        msgspec.structs.replace(event, message_id=f"{event.message_id}-{seed}")
        for event in [*live(seed, 30, OWNERS), *behave(seed, 30, now())]
    ]
    deployment.live_on(random.Random(seed), fresh)
    deployment.drain()


def test_what_came_since_is_all_that_is_read_again(deployment: Deployment) -> None:
    files = archive.files(deployment.home.archive)
    for seed in (3, 4):
        live_on(deployment, seed)
        replay.replay(deployment.settings, deployment.url)
        gone_on = online(deployment)
        replay.replay(deployment.settings, deployment.url, whole=True)
        assert gone_on == online(deployment)
    for file in files:
        if not file.name.startswith("import"):
            (deployment.home.events / file.path).unlink()
    replay.replay(deployment.settings, deployment.url)
    assert online(deployment) == gone_on


def test_other_imports_begin_anew(deployment: Deployment) -> None:
    before = online(deployment)
    import_events(deployment.home, behave(5, 100, now() - 2 * DAY), "import-2")
    replay.replay(deployment.settings, deployment.url)
    after = online(deployment)
    assert after != before
    replay.replay(deployment.settings, deployment.url, whole=True)
    assert online(deployment) == after


def test_an_erasure_leaves_no_checkpoint(deployment: Deployment) -> None:
    path = deployment.home.root / checkpoints.FILE
    assert CUSTOMERS[0].encode() in path.read_bytes()
    erasure.erase(deployment.home, CUSTOMERS[:1])
    assert not path.exists()
    replay.replay(deployment.settings, deployment.url)
    assert CUSTOMERS[0].encode() not in path.read_bytes()


def test_a_broken_checkpoint_is_passed_over(deployment: Deployment) -> None:
    before = online(deployment)
    (deployment.home.root / checkpoints.FILE).write_bytes(b"half of it")
    replay.replay(deployment.settings, deployment.url)
    assert online(deployment) == before
