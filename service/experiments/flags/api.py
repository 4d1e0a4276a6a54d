"""GET /v1/flags: what a unit would get, without enrolling it."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter

from service.catalog.compiled import Compiled
from service.catalog.experiments import HOLDOUT
from service.experiments.flags.asking import Ids, ask
from service.experiments.flags.evaluation import Asking, draw, evaluate
from service.experiments.flags.schema import FlagsAnswer, Given
from service.problems import PROBLEMS, respond

INVALID = "The request is not valid"
LONGEST_ID = 256


@get(
    "/v1/flags",
    tags=["flags"],
    summary="What a unit would get",
    status_code=200,
    responses={
        200: ResponseSpec(FlagsAnswer, description="All flags and experiments.", generate_examples=False),
        400: PROBLEMS[400],
    },
)
async def show(
    state: State,
    customer_id: FromQuery[str | None] = None,
    anonymous_id: FromQuery[str | None] = None,
    context: Annotated[str | None, QueryParameter(description="JSON: what rules read.")] = None,
) -> Response[Any]:
    """The variants of running experiments and the values of flags, as a decision or OFREP would give them now."""
    if not (customer_id or anonymous_id):
        return respond(INVALID, 400, "one of customer_id and anonymous_id is required", "customer_id")
    for field, one in (("customer_id", customer_id), ("anonymous_id", anonymous_id)):
        if len(one or "") > LONGEST_ID:
            return respond(INVALID, 400, f"an id has at most {LONGEST_ID} characters", field)
    try:
        said = {} if context is None else msgspec.json.decode(context, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError):
        return respond(INVALID, 400, "a JSON object is expected", "context")
    compiled = state.live.frame.compiled
    ids = Ids(customer_id or "", anonymous_id or "")
    asking = await ask(state.store, compiled, ids, said, state.settings.deadline_ms / 1e3)
    return Response(msgspec.json.encode(tell(compiled, asking)), media_type="application/json")


def tell(compiled: Compiled, asking: Asking) -> FlagsAnswer:
    """All that there is."""
    assigned = draw(compiled, asking, lambda _: True)
    held = [HOLDOUT] if compiled.document.holdout is not None else []
    return FlagsAnswer(
        unit=asking.units.customer,
        experiments=[
            Given(id=name, variant=assigned.variants.get(name), bucket=assigned.buckets.get(name))
            for name in (*held, *(entry.id for entry in compiled.experiments.entries))
        ],
        flags=evaluate(compiled, compiled.flags, asking),
        catalog_version=compiled.version,
    )


handlers = [show]
