"""GET and PUT /v1/catalog: the live catalog, and a new one in its place if nobody else was faster."""

import asyncio
import dataclasses
import re
from typing import Annotated, Any

import msgspec
import yaml
from litestar import Request, Response, get, put
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import HeaderParameter, QueryParameter

from features.documents import DocumentError
from service.catalog import versions
from service.catalog.schema import Catalog
from service.customers.access import refuse
from service.problems import MEDIA_TYPE, PROBLEMS, Problem, respond

YAML = "application/yaml"
LARGEST = 16 << 20
"""Bytes of a catalog: 10,000 candidates have about 2 MB."""
SWAP_SECONDS = 5.0
NAME = "catalog"
PLACE = re.compile(r"(?P<line>\d+):(?P<column>\d+): (?:(?P<field>[\w.\[\]-]+): )?(?P<detail>.*)", re.DOTALL)
OFTEN = 0.02


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong with a catalog, and where it stands in the body."""

    detail: str
    field: str | None = None
    line: int | None = None
    column: int | None = None


class CatalogProblem(Problem, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that is wrong with a catalog."""

    errors: tuple[Fault, ...] = ()


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """The version that is live now."""

    version: str
    previous: str
    time: int
    """Microseconds since the epoch."""
    candidates: int
    placements: int


@dataclasses.dataclass
class _Publishing(Operation):
    """The operation with its body, which is read as a text and not by a type."""

    def __post_init__(self) -> None:
        anything = Schema(type=OpenAPIType.OBJECT, description="As `kairos catalog schema` describes it.")
        media = {media: OpenAPIMediaType(schema=anything) for media in (YAML, "application/json")}
        self.request_body = RequestBody(content=media, required=True)


def _problem(description: str, shape: Any = Problem) -> ResponseSpec:
    return ResponseSpec(shape, description=description, media_type=MEDIA_TYPE, generate_examples=False)


def _answer(description: str, shape: Any) -> ResponseSpec:
    return ResponseSpec(shape, description=description, media_type="application/json", generate_examples=False)


@get(
    "/v1/catalog",
    tags=["catalog"],
    summary="The live catalog",
    status_code=200,
    responses={
        200: _answer("The catalog as JSON; as YAML, as it was written, if that is accepted.", dict[str, Any]),
        304: ResponseSpec(None, description="Still the version of If-None-Match."),
        401: PROBLEMS[401],
        403: PROBLEMS[403],
    },
)
async def show(request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """The catalog that is live, its version as ETag. `Accept: application/yaml` gives the text as it was written."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    catalog, version = await asyncio.to_thread(_live, state)
    headers = {"ETag": f'"{version}"', "Vary": "Accept", "Cache-Control": "no-cache"}
    if version in _tags(request.headers.get("if-none-match", "")):
        return Response(b"", status_code=304, headers=headers)
    if "yaml" in request.headers.get("accept", ""):
        text = await asyncio.to_thread(_text, state, catalog, version)
        return Response(text.encode(), media_type=YAML, headers=headers)
    body = catalog.model_dump_json(exclude_defaults=True, by_alias=True).encode()
    return Response(body, media_type="application/json", headers=headers)


@put(
    "/v1/catalog",
    tags=["catalog"],
    summary="Publish a catalog",
    status_code=200,
    request_max_body_size=LARGEST,
    operation_class=_Publishing,
    responses={
        200: _answer("Live, in every process within a second.", Published),
        400: _problem("The catalog is refused; `errors` has all that is wrong with it.", CatalogProblem),
        401: PROBLEMS[401],
        403: PROBLEMS[403],
        412: _problem("Another version is live than If-Match names; the ETag tells which."),
        413: PROBLEMS[413],
        428: _problem("If-Match is required."),
    },
)
async def replace(
    request: Request[Any, Any, Any],
    state: State,
    if_match: Annotated[
        str | None, HeaderParameter(name="If-Match", description="The ETag that is replaced; * for any.")
    ] = None,
    author: Annotated[str, QueryParameter(description="Who publishes, for the history.", max_length=256)] = "",
    comment: Annotated[str, QueryParameter(description="Why, for the history.", max_length=2000)] = "",
) -> Response[Any]:
    """Check a whole catalog, in YAML or JSON, and put it live. The version that it replaces stands in If-Match."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    tags = _tags(if_match or "")
    if not tags:
        detail = "send the ETag of the catalog that you have changed as If-Match"
        return respond("If-Match is required", 428, detail, "If-Match")
    if len(tags) > 1:
        return respond("The request is not valid", 400, "one ETag is expected", "If-Match")
    try:
        text = (await request.body()).decode("utf-8-sig")
        home = state.settings.home
        done = await asyncio.to_thread(versions.publish, home, text, author, comment, tags[0], NAME)
    except UnicodeDecodeError as error:
        return _refusal([Fault(detail=f"the body is no UTF-8: {error.reason} at byte {error.start}")])
    except DocumentError as error:
        return _refusal([_fault(problem) for problem in error.problems])
    except versions.ConflictError as error:
        return respond("Another catalog is live", 412, str(error), "If-Match", ETag=f'"{error.current}"')
    await _swapped(state, done.version)
    catalog = state.live.compiled.document
    answer = Published(
        version=done.version,
        previous=done.previous,
        time=done.time,
        candidates=len(catalog.candidates),
        placements=len(catalog.placements),
    )
    return Response(answer, headers={"ETag": f'"{done.version}"'})


def _live(state: State) -> tuple[Catalog, str]:
    """What the file says; what decisions are made with while it is broken."""
    try:
        return versions.read(state.settings.home)
    except DocumentError:
        return state.live.compiled.document, state.live.compiled.version


def _text(state: State, catalog: Catalog, version: str) -> str:
    try:
        return versions.text_of(state.settings.home, version)
    except versions.UnknownVersionError:  # not noted yet
        said = catalog.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=120)


async def _swapped(state: State, version: str) -> None:
    """When this process decides with the version; not forever, as the next publish may be there already."""
    for _ in range(int(SWAP_SECONDS / OFTEN)):
        if state.live.frame.compiled.version == version:
            return
        await asyncio.sleep(OFTEN)


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",") if tag.strip()]


def _fault(problem: str) -> Fault:
    found = PLACE.fullmatch(problem.removeprefix(f"{NAME}:"))
    if found is None:
        return Fault(detail=problem)
    return Fault(detail=found["detail"], field=found["field"], line=int(found["line"]), column=int(found["column"]))


def _refusal(faults: list[Fault]) -> Response[Any]:
    problem = CatalogProblem(
        title="The catalog is refused",
        status=400,
        detail="1 problem" if len(faults) == 1 else f"{len(faults)} problems",
        field=faults[0].field,
        errors=tuple(faults),
    )
    return Response(msgspec.json.encode(problem), status_code=400, media_type=MEDIA_TYPE)


handlers = [show, replace]
