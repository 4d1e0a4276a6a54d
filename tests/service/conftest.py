"""One `kairos up` for all tests of the service, as a start costs some seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from features.home import Home
from tests.service import running, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two API processes, worker and Redis, with the shop's catalog and a champion; tests leave it as they found it."""
    home = Home(tmp_path_factory.mktemp("service") / "home")
    shop.write_catalog(home)
    shop.publish(home, "1")
    started = running.start(home)
    yield started
    running.stop(started)
