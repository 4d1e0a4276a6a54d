"""The application that chooses the server: an empty endpoint, and one with a body and an answer of 5 KB of JSON."""

from __future__ import annotations

import os

import msgspec
from litestar import Litestar, get, post
from litestar.params import JSONBody  # noqa: TC002  # Litestar resolves annotations at run time


class Line(msgspec.Struct):
    id: str
    score: float
    content: dict[str, str]


class Document(msgspec.Struct):
    lines: list[Line]


@get("/pid")
async def pid() -> str:
    return str(os.getpid())


@get("/empty", status_code=200)
async def empty() -> None:
    return None


@post("/document", status_code=200)
async def document(data: JSONBody[Document]) -> Document:
    return data


app = Litestar([pid, empty, document], openapi_config=None)
