"""One decision for the terminal: asked of a running service, else made in this process on the same home."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from features.occupancy import UnavailableError, read_run

if TYPE_CHECKING:
    from features.settings import Settings

SECONDS = 10.0
DEADLINE_MS = 2000
"""A person waits longer than a page, and a cold process is slow."""


def ask(settings: Settings, customer: str, placements: list[str], flags: dict[str, str]) -> dict[str, Any]:
    """The answer to an explained decision. Raises UnavailableError with what the service said against it."""
    asked = {
        "customer_id": customer,
        "placements": [{"id": placement} for placement in placements],
        "flags": flags,
        "explain": True,
        "deadline_ms": DEADLINE_MS,
    }
    run = read_run(settings.home)
    return _ask_here(settings, asked) if run is None else _ask_service(run.api_url, asked)


def _ask_service(url: str, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        reply = httpx.post(f"{url}/v1/decisions", json=asked, timeout=SECONDS)
    except httpx.HTTPError as error:
        raise UnavailableError(f"the service at {url} does not answer: {error}") from error
    body: dict[str, Any] = reply.json()
    if reply.status_code != httpx.codes.OK:
        raise UnavailableError(f"{body.get('field') or body.get('title')}: {body.get('detail')}")
    return body


def _ask_here(settings: Settings, asked: dict[str, Any]) -> dict[str, Any]:
    from features import embedded
    from service.catalog import starter
    from service.decisions.pipeline import decide
    from service.decisions.request import InvalidError
    from service.decisions.schema import DecisionRequest
    from service.decisions.store import DecisionStore
    from service.decisions.warming import warm_up
    from service.live import Live

    async def once(redis_url: str) -> bytes:
        store, live = DecisionStore(settings, redis_url), Live(settings, redis_url, warm_up)
        await live.refresh()
        try:
            return await decide(live, store, settings, msgspec.convert(asked, DecisionRequest))
        except InvalidError as error:
            raise UnavailableError(f"{error.field}: {error}") from error
        finally:
            await live.close()
            await store.close()

    with embedded.reach(settings) as redis_url:
        starter.ensure(settings.home)
        body: dict[str, Any] = msgspec.json.decode(asyncio.run(once(redis_url)))
        return body


def render(body: dict[str, Any]) -> Group:
    """The answer as tables: what is shown, why, and what is not."""
    model = body["model"]
    scored = f"model {model['name']} {model['version']}" if model else "no model"
    parts: list[Any] = [
        Text(f"decision {body['decision_id']}", style="bold"),
        Text(
            f"rung {body['rung']} ({scored}), features as of {body['features_as_of'] or 'never'}, "
            f"{body['took_ms']:.1f} ms, catalog {body['catalog_version']}"
        ),
    ]
    for placement in body["placements"]:
        parts += [Text(""), _shown(placement, model), *_reasons(placement["explanation"])]
    return Group(*parts)


def _shown(placement: dict[str, Any], model: dict[str, Any] | None) -> Table:
    table = Table(title=placement["id"], title_justify="left")
    table.add_column("", justify="right")
    table.add_column("candidate", no_wrap=True)
    table.add_column("title", overflow="ellipsis", no_wrap=True)
    for heading in (f"P({model['reward']})" if model else "prior", "priority", "chance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in placement["items"]:
        table.add_row(
            str(item["rank"]),
            item["id"],
            str(item["content"].get("title", "")),
            _number(item["propensity"]),
            _number(item["priority"]),
            _number(item["selection_probability"]),
        )
    return table


def _reasons(explanation: dict[str, Any] | None) -> list[Text]:
    if explanation is None:
        return []
    lines = []
    for item in explanation["items"]:
        lines += [
            Text(f"  {item['id']}: {c['words']} by {abs(c['contribution']):.3g}") for c in item["contributions"][:3]
        ]
    hidden = explanation["not_shown"]
    lines += [Text(f"  not shown: {other['id']}, {other['reason']}", style="dim") for other in hidden[:3]]
    if len(hidden) > 3:
        lines.append(Text(f"  and {len(hidden) - 3} more not shown", style="dim"))
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
