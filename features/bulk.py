"""Many customers at once into a generation that is being built: the bytes that Feast would write, past its objects."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, Value
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # it ships no types
from hiredis import pack_command

from features.aggregates.rows import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

    from features.aggregates.packing import PackedRows
    from features.aggregates.runs import Ints
    from features.store import OnlineStore

AT_ONCE = 500
_LIST = Value(double_list_val=DoubleList(val=[0.0])).SerializeToString()
OUTER: bytes = _LIST[:1]
INNER: bytes = _LIST[2:3]
"""Tags of a value that is a list of doubles, and of its doubles."""


def write_customers(
    store: OnlineStore, texts: Sequence[str], applied: Ints, packed: PackedRows, check: Callable[[], None]
) -> None:
    """What `store.write` does for as many rows; `check` raises where nothing may be written any more."""
    layout = LAYOUTS["customer"]
    fields = store.fields_of("customer", ["applied", layout.numbers, layout.ids])
    first = store.redis_key("")
    prefix, project = first[: -len(store.project) - 4], store.project.encode()
    raw, ids = np.ascontiguousarray(packed.numbers, "<f8").tobytes(), packed.ids.tolist()
    ends, id_ends, stamps = (array.tolist() for array in (packed.number_starts, packed.id_starts, applied))
    with _sending(store.client) as send:
        for start in range(0, len(texts), AT_ONCE):
            commands = []
            for at in range(start, min(start + AT_ONCE, len(texts))):
                text = texts[at].encode()
                values = (
                    Value(int64_val=stamps[at]).SerializeToString(),
                    double_list(raw[8 * ends[at] : 8 * ends[at + 1]]),
                    Value(int64_list_val=Int64List(val=ids[id_ends[at] : id_ends[at + 1]])).SerializeToString(),
                )
                seconds, micros = divmod(stamps[at], 1_000_000)
                moment = Timestamp(seconds=seconds, nanos=micros * 1000).SerializeToString()
                pairs = [part for pair in zip(fields, values, strict=True) for part in pair]
                key = prefix + struct.pack("<I", len(text)) + text + project
                commands.append(pack_command(("HSET", key, *pairs, b"_ts:customer", moment)))
            check()
            send(commands)


@contextlib.contextmanager
def _sending(client: Redis) -> Iterator[Callable[[Sequence[bytes]], None]]:
    """Sends packed commands, and waits for the answers to those before. Raises redis.RedisError."""
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    waiting = 0

    def send(commands: Sequence[bytes]) -> None:
        nonlocal waiting
        connection.send_packed_command([b"".join(commands)])
        for _ in range(waiting):
            connection.read_response()
        waiting = len(commands)

    try:
        yield send
        send([])
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def double_list(raw: bytes) -> bytes:
    """A value that is the list of these doubles, little-endian."""
    inner = INNER + _varint(len(raw)) + raw if raw else b""
    return OUTER + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
