"""POST /v1/decisions."""

import msgspec
from litestar import Response, post
from litestar.datastructures import State
from litestar.params import JSONBody

from service.decisions.pipeline import decide
from service.decisions.request import InvalidError
from service.decisions.schema import DecisionAnswer, DecisionRequest
from service.direct import Short, Way
from service.problems import PROBLEMS

_decoder = msgspec.json.Decoder(DecisionRequest)


@post(
    "/v1/decisions",
    status_code=200,
    tags=["decisions"],
    summary="Decide what to show",
    responses={status: PROBLEMS[status] for status in (400, 404, 409, 413)},
)
async def decisions(data: JSONBody[DecisionRequest], state: State) -> Response[DecisionAnswer]:
    """Fill one or several placements of a page for one visitor, from features that contain the last click.

    The answer is never empty and never late: what is missing (the store, the model) lowers the `rung`.
    """
    body = await decide(state.live, state.store, state.settings, data)
    return Response(body, media_type="application/json")  # type: ignore[arg-type]  # the answer's bytes, as they are kept


async def _decide_directly(state: State, _headers: dict[bytes, bytes], body: bytes) -> Short | None:
    try:
        asked = _decoder.decode(body)
        return Short(await decide(state.live, state.store, state.settings, asked))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidError):
        return None  # the usual way finds the same, and words it


ways: dict[str, Way] = {"/v1/decisions": _decide_directly}
