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
LAPSED, LAPSING = f"{PREFIX}lapsed", f"{PREFIX}lapsing"
BOOKS = (HELD, PENDING, LAPSED, LAPSING)
LATE_SECONDS, MOST_LAPSED = 7200, 100_000
"""How long, and of how many reservations that lapsed, an exposure that comes after all still counts for everybody."""
SEPARATOR = "\x1f"

RESERVE = Script(
    """
local customer, held, pending = KEYS[1], KEYS[2], KEYS[3]
local asked = cjson.decode(ARGV[1])

local ids = {}
for at, one in ipairs(asked.claims) do ids[at] = one.id end
local known = redis.call('HMGET', held, unpack(ids))

-- What the claims take of each shared count; nothing for those that are reserved already, by this script run before.
local needed, counts = {}, {}
for at, one in ipairs(asked.claims) do
  if known[at] then one.shared = {} end
  for _, share in ipairs(one.shared) do
    local name = share[1] .. ':' .. share[2]
    if not needed[name] then
      needed[name] = {share = share, times = 0}
      counts[#counts + 1] = needed[name]
    end
    needed[name].times = needed[name].times + 1
  end
end

local lost = false
if asked.personal then
  lost = (redis.call('HGET', customer, 'revision') or '0') ~= asked.revision
end
for _, count in ipairs(counts) do
  local key, label, limit = KEYS[count.share[1]], count.share[2], count.share[3]
  if tonumber(redis.call('HGET', key, label) or 0) + count.times > limit then lost = true end
end
if lost then
  local shared = {}
  for at = 4, #KEYS do shared[at - 3] = redis.call('HGETALL', KEYS[at]) end
  return {0, redis.call('HGETALL', customer), shared}
end

local lives = {}
for _, count in ipairs(counts) do
  local key, seconds = KEYS[count.share[1]], count.share[4]
  redis.call('HINCRBY', key, count.share[2], count.times)
  if seconds > 0 and not lives[key] then
    redis.call('EXPIRE', key, seconds)
    lives[key] = true
  end
end
local holding, waiting, contacts = {}, {}, {}
for _, one in ipairs(asked.claims) do
  local parts = {}
  for at, share in ipairs(one.shared) do parts[at] = {KEYS[share[1]], share[2]} end
  if #parts > 0 then
    holding[#holding + 1], waiting[#waiting + 1] = one.id, asked.due
    holding[#holding + 1], waiting[#waiting + 1] = cjson.encode(parts), one.id
  end
  if one.contact ~= '' then
    contacts[#contacts + 1] = one.id
    contacts[#contacts + 1] = one.contact
  end
end
if #holding > 0 then
  redis.call('HSET', held, unpack(holding))
  redis.call('ZADD', pending, unpack(waiting))
end
if #contacts > 0 then redis.call('HSET', customer, unpack(contacts)) end
if asked.personal then
  if redis.call('HINCRBY', customer, 'revision', 1) % 8 == 0 then -- what is over does no harm until then
    local all = redis.call('HGETALL', customer)
    for at = 1, #all, 2 do
      local answered, seen = string.match(all[at + 1], '^(%d+),(%d+),')
      if answered and math.max(tonumber(answered), tonumber(seen)) < asked.since then
        redis.call('HDEL', customer, all[at])
      end
    end
  end
  redis.call('EXPIRE', customer, asked.ttl)
end
return {1}
"""
)

RELEASE = Script(
    """
local held, pending, lapsed, lapsing = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local over = redis.call('ZRANGEBYSCORE', pending, '-inf', ARGV[1], 'LIMIT', 0, 500)
for _, id in ipairs(over) do
  local parts = redis.call('HGET', held, id) or '[]'
  for _, share in ipairs(cjson.decode(parts)) do
    if redis.call('HEXISTS', share[1], share[2]) == 1 then redis.call('HINCRBY', share[1], share[2], -1) end
  end
  redis.call('HDEL', held, id)
  redis.call('ZREM', pending, id)
  redis.call('HSET', lapsed, id, parts)
  redis.call('ZADD', lapsing, ARGV[1], id)
end
local late = redis.call('ZRANGEBYSCORE', lapsing, '-inf', ARGV[2], 'LIMIT', 0, 500)
local many = redis.call('ZCARD', lapsing) - tonumber(ARGV[3])
if #late == 0 and many > 0 then late = redis.call('ZRANGE', lapsing, 0, math.min(many, 1000) - 1) end
if #late > 0 then
  redis.call('HDEL', lapsed, unpack(late))
  redis.call('ZREM', lapsing, unpack(late))
end
return #over
"""
)

CONFIRM = Script(
    """
local customer, held, pending, lapsed, lapsing = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, seen = ARGV[1], ARGV[2]
if redis.call('ZREM', pending, id) == 1 then
  redis.call('HDEL', held, id)
elseif redis.call('ZREM', lapsing, id) == 1 then
  for _, share in ipairs(cjson.decode(redis.call('HGET', lapsed, id) or '[]')) do
    if redis.call('EXISTS', share[1]) == 1 then redis.call('HINCRBY', share[1], share[2], 1) end
  end
  redis.call('HDEL', lapsed, id)
end
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
            pipe.eval(CONFIRM.text, 5, customer_key(seen.customer), *BOOKS, name, str(seen.time))
        if len(pipe):
            pipe.execute()


def release(redis: Redis, now: int) -> int:
    """Give back what was reserved and not seen in time (`now` in microseconds) -> how many reservations."""
    forgotten = str(now - LATE_SECONDS * 1_000_000)
    released: Any = redis.eval(RELEASE.text, 4, *BOOKS, str(now), forgotten, str(MOST_LAPSED))
    return int(released)


def forget(redis: Redis, customers: Iterable[str]) -> int:
    """Delete the contacts of customers -> of how many there were any."""
    keys = [customer_key(customer) for customer in customers]
    deleted: Any = redis.unlink(*keys) if keys else 0

    return int(deleted)
