"""The Lua scripts that change a job record. Each is atomic; every write by a worker compares its fence.

The clock is Redis' own, so that workers whose clocks disagree still agree on leases.
"""

from typing import Final

_HEAD: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local job, active, events, expiring = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local channel = ARGV[1]
local id = ARGV[2]
local function emit(name, data)
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'e', name, 'd', data)
  redis.call('PUBLISH', channel, name)
end
local function terminal(status)
  return status == 'succeeded' or status == 'failed' or status == 'canceled'
end
local function finish(status, err, waiting, event_ttl)
  redis.call('HSET', job, 'status', status, 'finished_at', now, 'error', err)
  redis.call('HDEL', job, 'owner', 'lease_until')
  redis.call('SREM', active, id)
  redis.call('ZREM', waiting, id)
  emit('status', cjson.encode({status = status}))
  redis.call('ZADD', expiring, now + event_ttl * 1000, events)
end
local function wait_again(waiting)
  redis.call('HSET', job, 'status', 'queued')
  redis.call('HINCRBY', job, 'fence', 1)
  redis.call('HINCRBY', job, 'requeues', 1)
  redis.call('HDEL', job, 'owner', 'lease_until', 'progress')
  redis.call('ZADD', waiting, now, id)
  emit('status', cjson.encode({status = 'queued'}))
end
"""

# KEYS: job, active, events, expiring, waiting, order.
# ARGV: channel, id, kind, lane, created_at, order member, room.
CREATE: Final = (
    _HEAD
    + """
if redis.call('EXISTS', job) == 1 then return 'exists' end
if tonumber(ARGV[7]) > 0 and redis.call('ZCARD', KEYS[5]) >= tonumber(ARGV[7]) then return 'full' end
redis.call('HSET', job, 'id', id, 'kind', ARGV[3], 'lane', ARGV[4], 'created_at', ARGV[5], 'status', 'queued',
  'deliveries', 0, 'fence', now, 'requeues', 0)
redis.call('SADD', active, id)
redis.call('ZADD', KEYS[5], now, id)
redis.call('ZADD', KEYS[6], 0, ARGV[6])
emit('status', cjson.encode({status = 'queued'}))
return 'created'
"""
)

# KEYS: job, active, events, expiring, waiting. ARGV: channel, id, owner, lease ms, delivery limit.
TAKE: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if not status then return {'unknown', 0, 0} end
if terminal(status) then return {'ended', 0, 0} end
local until_ = tonumber(redis.call('HGET', job, 'lease_until') or '0')
if (status == 'running' or status == 'canceling') and until_ > now then return {'held', 0, 0} end
local deliveries = redis.call('HINCRBY', job, 'deliveries', 1)
local fence = math.max(tonumber(redis.call('HGET', job, 'fence')) + 1, now)
redis.call('HSET', job, 'fence', fence, 'owner', ARGV[3], 'lease_until', now + tonumber(ARGV[4]))
redis.call('HSETNX', job, 'started_at', now)
redis.call('ZREM', KEYS[5], id)
if status == 'canceling' then return {'canceling', fence, deliveries} end
redis.call('HSET', job, 'status', 'running')
if deliveries > tonumber(ARGV[5]) then return {'exhausted', fence, deliveries} end
emit('status', cjson.encode({status = 'running'}))
return {'taken', fence, deliveries}
"""
)

# KEYS: job, active, events, expiring. ARGV: channel, id, fence, lease ms.
RENEW: Final = (
    _HEAD
    + """
if redis.call('HGET', job, 'fence') ~= ARGV[3] then return 'lost' end
local status = redis.call('HGET', job, 'status')
if terminal(status) then return 'lost' end
redis.call('HSET', job, 'lease_until', now + tonumber(ARGV[4]))
return status
"""
)

# KEYS: job, active, events, expiring. ARGV: channel, id, fence, event name, data, is progress.
EMIT: Final = (
    _HEAD
    + """
if redis.call('HGET', job, 'fence') ~= ARGV[3] then return 0 end
if terminal(redis.call('HGET', job, 'status')) then return 0 end
if ARGV[6] == '1' then redis.call('HSET', job, 'progress', ARGV[5]) end
emit(ARGV[4], ARGV[5])
return 1
"""
)

# KEYS: job, active, events, expiring, waiting. ARGV: channel, id, fence, status, error, event ttl s.
FINISH: Final = (
    _HEAD
    + """
if redis.call('HGET', job, 'fence') ~= ARGV[3] then return 0 end
if terminal(redis.call('HGET', job, 'status')) then return 0 end
redis.call('HSET', job, 'result_fence', ARGV[3])
finish(ARGV[4], ARGV[5], KEYS[5], ARGV[6])
return 1
"""
)

# KEYS: job, active, events, expiring, waiting. ARGV: channel, id, event ttl s.
CANCEL: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if not status then return 'unknown' end
if status == 'queued' then
  redis.call('HINCRBY', job, 'fence', 1)
  finish('canceled', '', KEYS[5], ARGV[3])
  return 'canceled'
end
if status == 'running' then
  redis.call('HSET', job, 'status', 'canceling')
  emit('status', cjson.encode({status = 'canceling'}))
  return 'canceling'
end
return status
"""
)

# KEYS: job, active, events, expiring, waiting. ARGV: channel, id, fence. A draining worker hands its job back.
RELEASE: Final = (
    _HEAD
    + """
if redis.call('HGET', job, 'fence') ~= ARGV[3] then return 0 end
if redis.call('HGET', job, 'status') ~= 'running' then return 0 end
redis.call('HINCRBY', job, 'deliveries', -1)
wait_again(KEYS[5])
return 1
"""
)

# KEYS: job, active, events, expiring, waiting. ARGV: channel, id, event ttl s. The reaper's look at one job.
REAP: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if not status then redis.call('SREM', active, id) return 'unknown' end
if terminal(status) then redis.call('SREM', active, id) return 'ended' end
if status == 'queued' then return 'queued' end
local until_ = tonumber(redis.call('HGET', job, 'lease_until') or '0')
if until_ > now then return 'held' end
if status == 'canceling' then
  redis.call('HINCRBY', job, 'fence', 1)
  finish('canceled', '', KEYS[5], ARGV[3])
  return 'canceled'
end
wait_again(KEYS[5])
return 'requeued'
"""
)

# KEYS: expiring. ARGV: how many at most.
PURGE: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, key in ipairs(keys) do
  redis.call('UNLINK', key)
  redis.call('ZREM', KEYS[1], key)
end
return #keys
"""

# KEYS: revision, changes. ARGV: document id.
CHANGED: Final = """
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[1]), ARGV[1])
"""
