"""The event streams: one Redis stream a partition of customers; append with deduplication in one script, and cursors.

An entry's id is its arrival in microseconds, strictly increasing within the partition whatever the clock does.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from features.connection import Script
from features.ids import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

DEDUPLICATED_HOURS = 24
FIELD = b"e"

FLUSH = "kairos:flush"
"""A stream that wakes the worker: whoever appends to it wants everything archived now."""
TRACKED = "kairos:tracked"
"""Whether customers who said nothing may be tracked, "1" or "0": from the catalog, for whoever processes events."""
REPLAY = "kairos:replay"
"""Held by a running replay; workers let go of their partitions meanwhile."""

NEWEST_SECONDS, MOST_NEWEST = 600, 64
"""How long the arrivals of a customer's newest events are kept, from the last on, and how many."""

# KEYS: stream, last arrival, sets of ids by the hour (the current hour first), lists of customers' newest events.
# ARGV: seconds a set lives, how many sets, seconds a list lives, its longest, then for each event its id or '', the
# place of its customer's list among the lists or 0, and the payload. -> arrival of each, 0 for a duplicate.
# A list begins with an arrival up to which the customer has no event in it: that of the partition's last event before,
# or the time when an earlier list expired.
APPEND = Script("""
local now = redis.call('TIME')
local arrival = tonumber(now[1]) * 1000000 + tonumber(now[2])
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local answers, sets, added = {}, {KEYS[3]}, false
local count = tonumber(ARGV[2])
for k = 4, 2 + count do
  if redis.call('EXISTS', KEYS[k]) == 1 then sets[#sets + 1] = KEYS[k] end
end
for i = 5, #ARGV, 3 do
  local seen = false
  if ARGV[i] ~= '' then
    for _, set in ipairs(sets) do
      if redis.call('SISMEMBER', set, ARGV[i]) == 1 then seen = true break end
    end
  end
  if seen then
    answers[#answers + 1] = 0
  else
    local before = last
    if arrival <= last then arrival = last + 1 end
    last = arrival
    local text = string.format('%.0f', arrival)
    redis.call('XADD', KEYS[1], text .. '-0', 'e', ARGV[i + 2])
    if ARGV[i] ~= '' then
      redis.call('SADD', KEYS[3], ARGV[i])
      added = true
    end
    if ARGV[i + 1] ~= '0' then
      local list = KEYS[2 + count + tonumber(ARGV[i + 1])]
      local length = redis.call('RPUSHX', list, text)
      if length == 0 then
        local begin = math.min(before, arrival - tonumber(ARGV[3]) * 1000000)
        redis.call('RPUSH', list, string.format('%.0f', begin), text)
      elseif length > tonumber(ARGV[4]) then
        redis.call('LTRIM', list, 1, -1)
      end
      redis.call('EXPIRE', list, ARGV[3])
    end
    answers[#answers + 1] = arrival
  end
end
redis.call('SET', KEYS[2], string.format('%.0f', last))
if added then redis.call('EXPIRE', KEYS[3], ARGV[1]) end
return answers
""")


class Message(msgspec.Struct, frozen=True):
    """One event to append: its id for deduplication (None: never a duplicate) and its bytes."""

    message_id: str | None
    payload: bytes
    customer: str = ""
    """Whose row it changes: such an event is seen by decisions before the worker has come to it. Empty: nobody's."""


def partition_of(customer: str, partitions: int) -> int:
    return zlib.crc32(customer.encode("utf-8", "surrogatepass")) % partitions


def events_key(partition: int) -> str:
    return f"kairos:{{{partition}}}:events"


def last_key(partition: int) -> str:
    """Arrival of the last event appended."""
    return f"kairos:{{{partition}}}:last"


def cursor_key(partition: int) -> str:
    """Arrival of the last event that is in the features."""
    return f"kairos:{{{partition}}}:cursor"


def handed_key(partition: int) -> str:
    """Arrival of the last event that led to one in a stream of another id."""
    return f"kairos:{{{partition}}}:handed"


def newest_key(partition: int, customer: str) -> str:
    """A list of the arrivals of the customer's newest events, oldest first."""
    return f"kairos:{{{partition}}}:newest:{fingerprint(customer) % 2**64:x}"


def archived_key(partition: int) -> str:
    """Arrival of the last event that is in the archive."""
    return f"kairos:{{{partition}}}:archived"


def lease_key(partition: int) -> str:
    return f"kairos:{{{partition}}}:lease"


def seen_keys(partition: int, now: float, hours: int = DEDUPLICATED_HOURS) -> list[str]:
    """The sets of ids that were appended in the last `hours`, the current hour first; `now` in seconds."""
    hour = int(now // 3600)
    return [f"kairos:{{{partition}}}:seen:{hour - back}" for back in range(hours + 1)]


def append_arguments(
    partition: int, messages: Sequence[Message], now: float, hours: int = DEDUPLICATED_HOURS
) -> tuple[list[str], list[Any]]:
    """Keys and arguments of APPEND; `now` in seconds chooses the sets of ids that were seen in the last `hours`."""
    seen = seen_keys(partition, now, hours)
    places = {"": 0}
    for message in messages:
        places.setdefault(message.customer, len(places))
    newest = [newest_key(partition, customer) for customer in list(places)[1:]]
    keys = [events_key(partition), last_key(partition), *seen, *newest]
    arguments: list[Any] = [(DEDUPLICATED_HOURS + 2) * 3600, len(seen), NEWEST_SECONDS, MOST_NEWEST]
    for message in messages:
        arguments += [dedup_id(message.message_id), places[message.customer], message.payload]
    return keys, arguments


def dedup_id(message_id: str | None) -> int | str:
    """As what an id is remembered: as 64-bit integers a set of ids stays an intset while it is small."""
    return "" if message_id is None else fingerprint(message_id)


def append(redis: Redis, partition: int, messages: Sequence[Message], now: float) -> list[int]:
    """Append events and wait for it -> the arrival of each, 0 for a duplicate. `now` as in `append_arguments`."""
    keys, arguments = append_arguments(partition, messages, now)
    arrivals: Any = redis.eval(APPEND.text, len(keys), *keys, *arguments)
    return list(arrivals)


def token(partition: int, arrival: int) -> str:
    """What an event's answer carries, and a decision's `after` waits for."""
    return f"{partition}-{arrival}"


def parse_token(text: str) -> tuple[int, int]:
    """(partition, arrival) of a token. Raises ValueError."""
    partition, _, arrival = text.partition("-")
    if not (partition.isdecimal() and arrival.isdecimal()):
        raise ValueError(f"not a token: {text!r}")
    return int(partition), int(arrival)
