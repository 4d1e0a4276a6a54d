"""The ledger of attention in Redis: what was answered and seen, by customer and by all of them together.

A decision reserves what its picks take up, all or nothing; the exposure confirms it; what is not confirmed in time is
released. Each is one script, so that no two decisions are granted the same, and may be run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.connection import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

    from features.events.occurrences import Exposure

PREFIX = "kairos:{ledger}:"
HELD, PENDING = f"{PREFIX}held", f"{PREFIX}pending"
SEPARATOR = "\x1f"

RESERVE = Script(
    """
local customer, held, pending = KEYS[1], KEYS[2], KEYS[3]
local asked = cjson.decode(ARGV[1])

local lost = false
if asked.personal then
  lost = (redis.call('HGET', customer, 'revision') or '0') ~= asked.revision
end
local needed = {}
for _, one in ipairs(asked.claims) do
  for _, share in ipairs(one.shared) do
    local key, label, limit = KEYS[share[1]], share[2], share[3]
    local name = share[1] .. ':' .. label
    needed[name] = (needed[name] or 0) + 1
    if tonumber(redis.call('HGET', key, label) or 0) + needed[name] > limit then lost = true end
  end
end
if lost then
  local shared = {}
  for at = 4, #KEYS do shared[at - 3] = redis.call('HGETALL', KEYS[at]) end
  return {0, redis.call('HGETALL', customer), shared}
end

for _, one in ipairs(asked.claims) do
  local parts = {}
  if redis.call('HEXISTS', held, one.id) == 1 then one.shared = {} end
  for _, share in ipairs(one.shared) do
    redis.call('HINCRBY', KEYS[share[1]], share[2], 1)
    if share[4] > 0 then redis.call('EXPIRE', KEYS[share[1]], share[4]) end
    parts[#parts + 1] = {KEYS[share[1]], share[2]}
  end
  if #parts > 0 then
    redis.call('HSET', held, one.id, cjson.encode(parts))
    redis.call('ZADD', pending, asked.due, one.id)
  end
  if one.contact ~= '' then redis.call('HSET', customer, one.id, one.contact) end
end
if asked.personal then
  redis.call('HINCRBY', customer, 'revision', 1)
  local all = redis.call('HGETALL', customer)
  for at = 1, #all, 2 do
    local answered, seen = string.match(all[at + 1], '^(%d+),(%d+),')
    if answered and math.max(tonumber(answered), tonumber(seen)) < asked.since then
      redis.call('HDEL', customer, all[at])
    end
  end
  redis.call('EXPIRE', customer, asked.ttl)
end
return {1}
"""
)

RELEASE = Script(
    """
local held, pending = KEYS[1], KEYS[2]
local over = redis.call('ZRANGEBYSCORE', pending, '-inf', ARGV[1], 'LIMIT', 0, 500)
for _, id in ipairs(over) do
  for _, share in ipairs(cjson.decode(redis.call('HGET', held, id) or '[]')) do
    if redis.call('HEXISTS', share[1], share[2]) == 1 then redis.call('HINCRBY', share[1], share[2], -1) end
  end
  redis.call('HDEL', held, id)
  redis.call('ZREM', pending, id)
end
return #over
"""
)

CONFIRM = Script(
    """
local customer, held, pending = KEYS[1], KEYS[2], KEYS[3]
local id, seen = ARGV[1], ARGV[2]
if redis.call('ZREM', pending, id) == 1 then redis.call('HDEL', held, id) end
local contact = redis.call('HGET', customer, id)
if not contact then return 0 end
local answered, before, rest = string.match(contact, '^(%d+),(%d+),(.*)$')
if before ~= '0' then return 0 end
redis.call('HSET', customer, id, answered .. ',' .. seen .. ',' .. rest)
local candidate, first = string.match(rest, '^(%d+),.*,(%d)$')
if first == '1' then redis.call('HSETNX', customer, 'first:' .. candidate, seen) end
redis.call('HINCRBY', customer, 'revision', 1)
return 1
"""
)

MERGE = Script(
    """
local from, to = KEYS[1], KEYS[2]
local all = redis.call('HGETALL', from)
if #all == 0 then return 0 end
local ttl = math.max(redis.call('TTL', from), redis.call('TTL', to))
for at = 1, #all, 2 do
  local field, value = all[at], all[at + 1]
  local known = redis.call('HGET', to, field)
  if field == 'revision' then
    redis.call('HINCRBY', to, field, tonumber(value) + 1)
  elseif not known or (string.sub(field, 1, 6) == 'first:' and tonumber(value) < tonumber(known)) then
    redis.call('HSET', to, field, value)
  end
end
if ttl > 0 then redis.call('EXPIRE', to, ttl) end
redis.call('DEL', from)
return 1
"""
)


def customer_key(customer: str) -> str:
    """Where a customer's contacts are."""
    return f"{PREFIX}customer:{customer}"


def shared_key(scope: str) -> str:
    """Where it is counted what all customers share: a hash of labels, for one scope and period."""
    return f"{PREFIX}used:{scope}"


def reservation(decision_id: str, placement: str, candidate: str) -> str:
    return SEPARATOR.join((decision_id, placement, candidate))


def settle(redis: Redis, exposures: Iterable[Exposure], joins: Iterable[tuple[str, str]]) -> None:
    """Confirm what was seen, and give the contacts of ids that were given up to their owners: (previous, owner)."""
    with redis.pipeline(transaction=False) as pipe:
        for previous, owner in joins:
            pipe.eval(MERGE.text, 2, customer_key(previous), customer_key(owner))
        for seen in exposures:
            name = reservation(seen.decision_id, seen.placement, seen.candidate)
            pipe.eval(CONFIRM.text, 3, customer_key(seen.customer), HELD, PENDING, name, str(seen.time))
        if len(pipe):
            pipe.execute()


def release(redis: Redis, now: int) -> int:
    """Give back what was reserved and not seen in time (`now` in microseconds) -> how many reservations."""
    released: Any = redis.eval(RELEASE.text, 2, HELD, PENDING, str(now))
    return int(released)


def forget(redis: Redis, customers: Iterable[str]) -> int:
    """Delete the contacts of customers -> of how many there were any."""
    keys = [customer_key(customer) for customer in customers]
    deleted: Any = redis.unlink(*keys) if keys else 0

    return int(deleted)
