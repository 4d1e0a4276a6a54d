"""Versions of the catalog after a loss: the archive has all of them; and models that a catalog names and nobody has."""

from __future__ import annotations

import copy
import shutil
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from features import archive
from features.documents import DocumentError
from features.events.schema import encode
from features.home import Home
from service.catalog import kept, reading, versions
from service.publisher import publication
from tests.service import shop
from tests.service.flagging import put_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.running import Service

HALVES = {"id": "halves", "status": "running", "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}]}
MOVED = HALVES | {"variants": [{"id": "a", "weight": 0.8}, {"id": "b", "weight": 0.2}]}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def document(**fields: Any) -> str:
    return yaml.safe_dump(copy.deepcopy(shop.CATALOG) | {"experiments": [], **fields})


def go_live(home: Home, text: str, author: str, comment: str) -> None:
    """Publish, and archive that as a worker does."""
    done = versions.publish(home, text, author, comment, versions.ANY)
    now = time.time_ns() // 1000
    event = publication(versions.read(home)[0], done, now)
    archive.write(home.archive, "0", archive.tabulate(0, [archive.Entry(now, event, encode(event))]))


def test_lost_versions_come_back_from_the_archive(home: Home) -> None:
    for text, author, comment in (
        (document(experiments=[HALVES]), "ann", "begin"),
        (document(experiments=[MOVED]), "ben", "more of a"),
        (document(experiments=[MOVED], currency="USD"), "ann", ""),
    ):
        go_live(home, text, author, comment)
    before, live = versions.history(home), versions.read(home)
    documents = [kept.open_version(home, one.version) for one in before]
    shutil.rmtree(home.catalogs)
    after = versions.history(home)
    assert [(one.version, one.author, one.comment, one.previous) for one in after] == [
        (one.version, one.author, one.comment, one.previous) for one in before
    ]
    assert [kept.open_version(home, one.version) for one in after] == documents
    assert versions.read(home) == live  # with the buckets that the units have, though its text does not say them
    for one in after:
        found, version = versions.open_text(home, one.version, versions.text_of(home, one.version))
        assert version == one.version
        assert found in documents
    back = versions.restore(home, before[0].version[:8], "eve", "back")
    assert back.previous == before[-1].version
    assert versions.read(home) == (documents[0], before[0].version)
    assert len(versions.history(home)) == 4


def test_without_experiments_the_text_of_a_lost_version_says_the_same(home: Home) -> None:
    go_live(
        home, "defaults: {candidate: {value: 3}}\nplacements: [{id: p, default: a}]\ncandidates: [{id: a}]\n", "", ""
    )
    [one] = versions.history(home)
    shutil.rmtree(home.catalogs)
    assert reading.parse("c", versions.text_of(home, one.version))[1] == one.version


def test_a_version_that_cannot_be_read_any_more_stands_in_the_history_all_the_same(home: Home) -> None:
    go_live(home, document(), "ann", "")
    now = time.time_ns() // 1000
    event = publication(versions.read(home)[0], versions.history(home)[0], now)
    broken = msgspec.structs.replace(event, version="0ld", document=b"of another program", message_id="m")
    archive.write(home.archive, "1", archive.tabulate(1, [archive.Entry(now, broken, encode(broken))]))
    shutil.rmtree(home.catalogs)
    assert [one.version for one in versions.history(home)][-1] == "0ld"
    with pytest.raises(versions.UnknownVersionError):
        versions.text_of(home, "0ld")


def naming(alias: str) -> dict[str, Any]:
    changed = copy.deepcopy(shop.CATALOG)
    changed["placements"][0]["model"] = alias
    return changed


def test_an_edited_catalog_that_names_a_model_that_nobody_has_is_refused(home: Home) -> None:
    shop.write_catalog(home, naming("challenger"))
    with pytest.raises(
        DocumentError, match=r"placements\[0\].model: no model has the alias 'challenger' \(there is none\)"
    ):
        versions.read(home)
    with pytest.raises(DocumentError, match="challenger"):
        versions.publish(home, yaml.safe_dump(naming("challenger")), "", "", versions.ANY)
    shop.publish(home, "1", "challenger")
    versions.note(home, versions.read(home)[1])
    (home.bundles / "offers" / "aliases.json").unlink()
    shutil.rmtree(home.catalogs / "checked")
    assert versions.read(home)[0].placements[0].model == "challenger"  # what was live stays so
    shop.write_catalog(home, naming("champion"))
    versions.read(home)  # the first champion may come later


def test_a_service_goes_on_with_the_catalog_before_one_that_names_no_model(service: Service) -> None:
    before = service.get("/ready").json()["catalog_version"]
    with put_back(service):
        shop.write_catalog(service.home, naming("nobody"))
        service.everywhere(lambda ready: "no model has the alias 'nobody'" in ready["problems"].get("catalog", ""))
        assert service.get("/ready").json()["catalog_version"] == before
        assert service.decide()["rung"] == "model"
    service.everywhere(lambda ready: not ready["problems"])
