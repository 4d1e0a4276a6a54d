"""Those who work with the historical store at once: nobody's is replaced under them, and it is rebuilt once."""

from __future__ import annotations

import multiprocessing
import threading
from functools import partial
from typing import TYPE_CHECKING

from features import archive, history, tenancy
from features.events.schema import Page
from tests.features.behaviour import behave
from tests.features.deployment import now
from tests.features.test_history import import_events

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from features.home import Home


def rebuild(home: Home, go: Event) -> None:
    """In a process of its own: all of them at once."""
    go.wait()
    with tenancy.hold(home, partial(tenancy.renew, home)):
        assert history.is_current(home)
        assert list((home.history / "customer").glob("*.parquet"))


def add(home: Home) -> None:
    page = Page(message_id="m", customer="ann", time=5, received=5)
    archive.write(home.archive, "0", archive.tabulate(0, [archive.entry(5, page)]))


def test_processes_that_rebuild_at_once_all_have_a_whole_history(home: Home) -> None:
    import_events(home, behave(3, 400, now()))
    context = multiprocessing.get_context("spawn")
    go = context.Event()
    others = [context.Process(target=rebuild, args=(home, go)) for _ in range(4)]
    for other in others:
        other.start()
    go.set()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0] * 4
    assert history.is_current(home)


def test_who_would_replace_what_another_reads_waits_for_it_and_says_so(home: Home) -> None:
    import_events(home, behave(4, 200, now()))
    said: list[str] = []
    waiting, renewed = threading.Event(), threading.Event()

    def wait(text: str) -> None:
        said.append(text)
        waiting.set()

    def replace() -> None:
        with tenancy.hold(home, partial(tenancy.renew, home), wait):
            renewed.set()

    with tenancy.hold(home, partial(tenancy.renew, home)):
        files = sorted(home.history.rglob("*.parquet"))
        add(home)
        other = threading.Thread(target=replace)
        other.start()
        assert waiting.wait(60)
        assert not renewed.is_set()
        assert sorted(home.history.rglob("*.parquet")) == files
    other.join()
    assert renewed.is_set()
    assert said == [tenancy.WAITING]
    assert history.is_current(home)


def test_readers_of_a_current_history_do_not_wait_for_each_other(home: Home) -> None:
    import_events(home, behave(5, 100, now()))
    renewals: list[int] = []

    def renew() -> None:
        renewals.append(1)
        tenancy.renew(home)

    with tenancy.hold(home, renew), tenancy.hold(home, renew, lambda text: renewals.append(len(text))):
        assert renewals == [1]
