"""Publishing: over HTTP and the command line, checked whole, swapped whole, with a history that goes back."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from rich.console import Console

from features.documents import DocumentError
from features.events.schema import CatalogPublished, decode
from features.home import Home
from service.catalog import differences, plan, reading, versions
from tests.service import shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.service.running import Service


def changed(price: float) -> dict[str, Any]:
    document = copy.deepcopy(shop.CATALOG)
    document["candidates"][1]["price"] = price
    return document


def run(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "kairos",
            "catalog",
            *arguments,
            *(() if arguments[0] == "schema" else ("--home", home.root)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def restored(service: Service) -> Iterator[Service]:
    """The shop's catalog is back in every process after the test."""
    before = service.get("/ready").json()["catalog_version"]
    yield service
    shop.write_catalog(service.home)
    service.everywhere(lambda ready: ready["catalog_version"] == before and "catalog" not in ready["problems"])


def put(service: Service, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return service.http.put("/v1/catalog?author=ann&comment=why+not", content=content, headers=headers)


def etag(service: Service) -> str:
    tag: str = service.get("/v1/catalog").headers["ETag"]
    return tag


def test_a_version_is_kept_found_and_taken_back(home: Home) -> None:
    first = versions.publish(home, yaml.safe_dump(changed(1.0)), "ann", "start", "")
    second = versions.publish(home, "# mine\n" + yaml.safe_dump(changed(2.0)), "ben", "", first.version)
    assert versions.read(home)[1] == second.version
    assert [(one.version, one.author, one.previous) for one in versions.history(home)] == [
        (first.version, "ann", ""),
        (second.version, "ben", first.version),
    ]
    assert versions.text_of(home, second.version[:6]).startswith("# mine\n")
    again = versions.publish(home, versions.text_of(home, first.version), "ann", "back", second.version)
    assert (again.version, len(versions.history(home))) == (first.version, 3)
    for unknown in ("zz", ""):
        with pytest.raises(versions.UnknownVersionError):
            versions.text_of(home, unknown)


def test_who_comes_second_is_refused_and_nothing_is_lost(home: Home) -> None:
    first = versions.publish(home, yaml.safe_dump(changed(1.0)), "", "", "")
    done: list[str] = []

    def replace(price: float) -> None:
        try:
            done.append(versions.publish(home, yaml.safe_dump(changed(price)), "", "", first.version).version)
        except versions.ConflictError:
            done.append("refused")

    threads = [threading.Thread(target=replace, args=(2.0 + at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count("refused") == 5
    assert [one.version for one in versions.history(home)] == [
        first.version,
        max(done, key=lambda one: one != "refused"),
    ]
    assert versions.read(home)[1] in done


def test_what_was_edited_by_hand_is_kept_before_it_is_replaced(home: Home) -> None:
    shop.write_catalog(home, changed(5.0))
    edited = reading.read(home.catalog)[1]
    done = versions.publish(home, yaml.safe_dump(changed(6.0)), "ann", "", versions.ANY)
    assert [one.comment for one in versions.history(home)] == [versions.BY_HAND, ""]
    assert done.previous == edited
    assert reading.parse("c", versions.text_of(home, edited))[1] == edited


def test_a_published_catalog_is_read_as_the_checked_one(home: Home) -> None:
    text = "defaults: {candidate: {value: 3}}\nplacements: [{id: p, default: a}]\ncandidates: [{id: a}]\n"
    versions.publish(home, text, "", "", "")
    assert versions.read(home) == reading.read(home.catalog)
    for kept in (home.catalogs / "checked").iterdir():
        kept.write_text("{}")
    assert versions.read(home) == reading.read(home.catalog)
    with pytest.raises(DocumentError):
        versions.publish(home, text.replace("default: a", "default: b"), "", "", versions.ANY)
    assert versions.read(home) == reading.parse("c", text)


def test_the_live_catalog_is_shown_with_its_version(service: Service) -> None:
    shown = service.get("/v1/catalog")
    version = service.get("/ready").json()["catalog_version"]
    assert shown.headers["ETag"] == f'"{version}"'
    assert reading.parse("c", shown.text)[1] == version
    as_yaml = service.http.get("/v1/catalog", headers={"Accept": "application/yaml"})
    assert as_yaml.headers["Content-Type"].startswith("application/yaml")
    assert reading.parse("c", as_yaml.text)[1] == version
    for known in (f'"{version}"', f'"other", W/"{version}"'):
        assert service.http.get("/v1/catalog", headers={"If-None-Match": known}).status_code == 304
    assert service.http.get("/v1/catalog", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_catalog_that_is_put_is_live_in_every_process_and_in_the_archive(restored: Service) -> None:
    service, before = restored, etag(restored)
    text = "# of ours\n" + yaml.safe_dump(changed(77.5))
    done = put(service, text, **{"If-Match": before, "Content-Type": "application/yaml"})
    assert done.status_code == 200, done.text
    version = done.json()["version"]
    assert done.headers["ETag"] == f'"{version}"' != before
    service.everywhere(lambda ready: ready["catalog_version"] == version)
    assert service.http.get("/v1/catalog", headers={"Accept": "application/yaml"}).text == text
    assert put(service, text, **{"If-Match": before}).status_code == 412
    assert put(service, text, **{"If-Match": before}).headers["ETag"] == done.headers["ETag"]

    def published() -> list[CatalogPublished]:
        events = [decode(payload) for _, payload in service.archived("")]
        return [one for one in events if isinstance(one, CatalogPublished) and one.version == version]

    wait_until(published)
    event = published()[-1]
    assert (event.author, event.comment) == ("ann", "why not")
    assert event.candidates[1]["price"] == 77.5
    assert reading.parse("c", zlib.decompress(event.document).decode())[1] == version


def test_what_is_wrong_with_a_catalog_that_is_put_is_told_whole(restored: Service) -> None:
    before = etag(restored)
    assert put(restored, changed(1.0)).status_code == 428
    assert put(restored, changed(1.0), **{"If-Match": f'{before}, "x"'}).status_code == 400
    text = "placements:\n  - {id: p, default: z}\ncandidates:\n  - {id: a, rule: 'user.vip'}\n"
    refused = put(restored, text, **{"If-Match": before})
    assert refused.status_code == 400
    assert refused.headers["Content-Type"].startswith("application/problem+json")
    errors = refused.json()["errors"]
    assert [(one["field"], one["line"], one["column"]) for one in errors] == [
        ("placements[0].default", 2, 22),
        ("candidates[0].rule", 4, 19),
    ]
    assert "there is no candidate 'z'" in errors[0]["detail"]
    for body in (b"", b"\xff\xfe", b"[" * 100_000, b"a: &a [*a]", b"null", b"{", b"\x00", b'{"candidates": 1}'):
        reply = put(restored, body, **{"If-Match": before})
        assert reply.status_code == 400, body[:20]
        assert reply.json()["errors"]
    assert etag(restored) == before


def test_the_command_line_checks_publishes_and_goes_back(home: Home, tmp_path: Path) -> None:
    good, broken = tmp_path / "good.yaml", tmp_path / "broken.yaml"
    good.write_text(yaml.safe_dump(changed(3.0)))
    broken.write_text("placements: [{id: p, default: z}]\ncandidates:\n  - {id: a, weight: -1}\n  - {id: b, kind: x}\n")
    assert run(home, "check", str(good)).stdout.endswith("12 candidates in 3 placements\n")
    refused = run(home, "check", str(broken))
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[0].startswith(f"{broken}:1:31: placements[0].default: ")
    assert refused.stdout.splitlines()[1].startswith(f"{broken}:3:21: candidates[0].weight: ")
    assert refused.stdout.splitlines()[2].startswith(f"{broken}:4:19: candidates[1].kind: ")
    assert run(home, "publish", str(broken)).returncode == 1
    assert not home.catalog.exists()
    folder = tmp_path / "catalog.d"
    folder.mkdir()
    for part in ("placements", "candidates"):
        (folder / f"{part}.yaml").write_text(yaml.safe_dump({part: shop.CATALOG[part]}))
    for arguments in (("publish", str(good), "--comment", "first"), ("publish", str(folder), "--author", "ben")):
        assert run(home, *arguments).returncode == 0
    first = versions.history(home)[0].version
    told = run(home, "plan", str(good)).stdout
    assert "2 added, " in told  # the folder has no experiments
    assert "~ candidate o-1: price 11.0 -> 3.0" in told
    assert "No decision was logged" in told
    assert run(home, "rollback", "nothing").returncode == 1
    assert run(home, "rollback", first[:8]).stdout.startswith(f"version {first} is live")
    listed = run(home, "history").stdout
    assert listed.count(first) == 2
    assert "first" in listed
    assert "ben" in listed
    assert json.loads(run(home, "schema").stdout)["properties"]["candidates"]


def test_a_plan_shows_where_long_values_begin_to_differ() -> None:
    rule = "features.customer__product_viewed__count_1d >= 3.0 && traits.plan == "
    document = copy.deepcopy(shop.CATALOG)
    document["candidates"][1]["rule"] = f"{rule}'gold'"
    document["placements"][1]["candidates"] = shop.OFFERS
    before, _ = reading.parse("c", yaml.safe_dump(document))
    document["candidates"][1]["rule"] = f"{rule}'silver'"
    document["placements"][1]["candidates"] = shop.OFFERS[:-1]
    after, _ = reading.parse("c", yaml.safe_dump(document))
    console = Console(record=True, width=300)
    console.print(plan.render("1", "2", differences.compare(before, after), [], ""))
    told = console.export_text()
    assert "~ candidate o-1: rule … && traits.plan == 'gold' -> … && traits.plan == 'silver'" in told
    assert '~ placement grid: candidates …"o-8", "o-9", "o-10", "o-11"] -> …"o-8", "o-9", "o-10"]' in told


def test_a_plan_tells_whose_winners_change_and_what_that_is_worth(service: Service, tmp_path: Path) -> None:
    for number in range(6):
        service.decide(f"plan-{number}", "calm")
    winner = service.decide("plan-0", "calm")["placements"][0]["items"][0]["id"]
    wait_until(lambda: len(service.logged("plan-0")) == 2)
    document = copy.deepcopy(shop.CATALOG)
    document["placements"][0]["candidates"] = ["o-0", "o-5"]
    document["candidates"][5]["value"] = 1000.0
    new = tmp_path / "new.yaml"
    new.write_text(yaml.safe_dump(document))
    told = run(service.home, "plan", str(new), "--hours", "1").stdout
    assert '~ placement calm: candidates none -> ["o-0", "o-5"]' in told
    assert "~ candidate o-5: value 1.0 -> 1000.0" in told
    (line,) = [line for line in told.splitlines() if "calm" in line and "│" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    decisions, changes, customers = (int(cell.partition(" ")[0].replace(",", "")) for cell in cells[1:4])
    assert decisions >= 7
    assert changes >= (7 if winner != "o-5" else 0)
    assert 1 <= customers <= changes
    assert float(cells[5]) > float(cells[4])
    assert service.get("/ready").json()["catalog_version"] == reading.parse("c", yaml.safe_dump(shop.CATALOG))[1]
