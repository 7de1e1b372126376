"""The Lua scripts that change a job record. Each is atomic; every write by a worker compares its fence.

The clock is Redis' own, so that workers whose clocks disagree still agree on leases.
"""

from typing import Final

from preceptor.contract.versions import CONTRACT

from ..redis import keys

# KEYS of every job script: job, active, events, expiring, leases, waiting, delayed, ended, turns, clocks.
# ARGV: channel, id, ...
_HEAD: Final = (
    """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local job, active, events, expiring = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local leases, waiting, delayed, ended = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local turns, clocks = KEYS[9], KEYS[10]
local own_contract = CONTRACT
local channel = ARGV[1]
local id = ARGV[2]
local function emit(name, data)
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'e', name, 'd', data)
  redis.call('PUBLISH', channel, name)
end
-- A full Redis refuses a script at its first write, where that takes memory, and none after it. Scripts that keep a
-- running job, or end it and so free memory, begin with this write, which changes nothing.
local function although_full()
  redis.call('ZREM', delayed, '')
end
local function terminal(status)
  return status == 'succeeded' or status == 'failed' or status == 'canceled'
end
local function stale(fence)
  return redis.call('HGET', job, 'fence') ~= fence or terminal(redis.call('HGET', job, 'status'))
end
local function not_of_caller()
  local caller = redis.call('HGET', job, 'caller')
  if caller then redis.call('SREM', 'CALLERS' .. caller, id) end
end
local function count(name, label)
  redis.call('HINCRBY', 'COUNTERS', name .. '|' .. redis.call('HGET', job, 'kind') .. '|' .. label, 1)
end
-- Fair queueing by start times (Goyal, Vin, Cheng, SIGCOMM 1996), a job being one unit of work: a caller's jobs take
-- turns one apart, the first of them no earlier than the turn that was last served.
local LOW = 1e12
local function clock_of(turn)
  if turn >= LOW then return 'clock:low', turn - LOW end
  return 'clock', turn
end
local function new_turn(priority, caller)
  local clock = priority == 'low' and 'clock:low' or 'clock'
  local last = priority .. ':' .. caller
  local turn = 1 + math.max(
    tonumber(redis.call('HGET', clocks, clock) or '0'), tonumber(redis.call('HGET', clocks, last) or '0'))
  redis.call('HSET', clocks, last, turn)
  if priority == 'low' then turn = turn + LOW end
  return turn
end
-- A job lines up with those that need the same contract: a worker sees no turn of a job that it cannot read.
local function contract_of()
  return tonumber(redis.call('HGET', job, 'contract') or '1')
end
local function turns_of(contract)
  return contract > 1 and turns .. ':' .. contract or turns
end
local function quick_turns_of(contract)
  return turns_of(contract) .. ':quick'
end
local function leave_turn()
  local turn = 0
  for contract = 1, math.max(own_contract, contract_of()) do
    turn = tonumber(redis.call('ZSCORE', turns_of(contract), id) or turn)
    redis.call('ZREM', turns_of(contract), id)
    redis.call('ZREM', quick_turns_of(contract), id)
  end
  return turn
end
local function line_up()
  redis.call('ZADD', waiting, 'NX', now, id)
  local turn = tonumber(redis.call('HGET', job, 'turn') or '0')
  redis.call('ZADD', turns_of(contract_of()), turn, id)
  if redis.call('HGET', job, 'quick') then redis.call('ZADD', quick_turns_of(contract_of()), turn, id) end
end
local function wait_again(delay, reason)
  count('job_redeliveries', reason)
  redis.call('HSET', job, 'status', 'queued')
  redis.call('HINCRBY', job, 'fence', 1)
  redis.call('HINCRBY', job, 'requeues', 1)
  redis.call('HDEL', job, 'owner', 'progress')
  redis.call('ZREM', leases, id)
  if delay > 0 then
    redis.call('ZADD', delayed, now + delay, id)
  else
    line_up()
  end
  emit('status', cjson.encode({status = 'queued'}))
end
""".replace("CALLERS", keys.CALLERS)
    .replace("COUNTERS", keys.COUNTERS)
    .replace("CONTRACT", str(CONTRACT))
)

# KEYS: ..., order, order of the kind, jobs of the caller.
# ARGV: ..., kind, lane, created_at, order member, room, requeues, caller, most jobs of the caller, priority,
# traceparent, contract that the request needs, whether it is quick.
# Returns what came of it, and how many jobs wait in the lane.
CREATE: Final = (
    _HEAD
    + """
local waits = redis.call('ZCARD', waiting)
if redis.call('EXISTS', job) == 1 then return {'exists', waits} end
if tonumber(ARGV[7]) > 0 and waits >= tonumber(ARGV[7]) then return {'full', waits} end
if tonumber(ARGV[10]) > 0 and redis.call('SCARD', KEYS[13]) >= tonumber(ARGV[10]) then return {'quota', waits} end
redis.call('HSET', job, 'id', id, 'kind', ARGV[3], 'lane', ARGV[4], 'created_at', ARGV[5], 'status', 'queued',
  'deliveries', 0, 'fence', now, 'accepted', now, 'requeues', ARGV[8], 'turn', new_turn(ARGV[11], ARGV[9]))
if ARGV[9] ~= '' then
  redis.call('HSET', job, 'caller', ARGV[9])
  redis.call('SADD', KEYS[13], id)
end
if ARGV[12] ~= '' then redis.call('HSET', job, 'trace', ARGV[12]) end
if tonumber(ARGV[13]) > 1 then redis.call('HSET', job, 'contract', ARGV[13]) end
if ARGV[14] == '1' then redis.call('HSET', job, 'quick', 1) end
redis.call('SADD', active, id)
line_up()
redis.call('ZADD', KEYS[11], 0, ARGV[6])
redis.call('ZADD', KEYS[12], 0, ARGV[6])
emit('status', cjson.encode({status = 'queued'}))
return {'created', waits + 1}
"""
)

# Whose turn it is. KEYS: turns of the lane. ARGV: the newest contract that is read, whether only quick jobs count,
# callers whose jobs must wait. Returns the job's id, its caller, whether it is quick; and whether any job waits.
NEXT: Final = """
local excluded, some = {}, #ARGV > 2
for number = 3, #ARGV do excluded[ARGV[number]] = true end
local first, first_turn, waits = '', nil, 0
for contract = 1, tonumber(ARGV[1]) do
  local line = KEYS[1] .. (contract > 1 and ':' .. contract or '')
  waits = math.max(waits, redis.call('EXISTS', line))
  if ARGV[2] == '1' then line = line .. ':quick' end
  local from, found = 0, false
  while not found do
    local page = redis.call('ZRANGE', line, from, some and from + 99 or 0, 'WITHSCORES')
    if #page == 0 then break end
    for number = 1, #page, 2 do
      local id, turn = page[number], tonumber(page[number + 1])
      if not (some and excluded[redis.call('HGET', 'JOB' .. id, 'caller') or '']) then
        found = true
        if first_turn == nil or turn < first_turn or (turn == first_turn and id < first) then
          first, first_turn = id, turn
        end
        break
      end
    end
    from = from + 100
  end
end
if first == '' then return {'', '', 0, waits} end
local caller, quick = unpack(redis.call('HMGET', 'JOB' .. first, 'caller', 'quick'))
return {first, caller or '', quick and 1 or 0, waits}
""".replace("JOB", keys.job(""))

# KEYS: turns of a lane, its quick turns. ARGV: how many at most. Removes quick turns of jobs that have left the lane:
# workers of the previous release take and end jobs without knowing this line.
TIDY: Final = """
local stale = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  if not redis.call('ZSCORE', KEYS[1], id) then stale[#stale + 1] = id end
end
for _, id in ipairs(stale) do redis.call('ZREM', KEYS[2], id) end
return #stale
"""

# ARGV: ..., owner, lease ms, delivery limit.
TAKE: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if status and not terminal(status) and contract_of() > own_contract then
  leave_turn()
  if status == 'queued' and not redis.call('ZSCORE', delayed, id) then line_up() end
  return {'newer', 0, 0}
end
local turn = leave_turn()
if not status then return {'unknown', 0, 0} end
if terminal(status) then return {'ended', 0, 0} end
if redis.call('ZSCORE', delayed, id) then return {'delayed', 0, 0} end
local until_ = tonumber(redis.call('ZSCORE', leases, id) or '0')
if (status == 'running' or status == 'canceling') and until_ > now then
  if redis.call('HGET', job, 'owner') ~= ARGV[3] then return {'held', 0, 0} end
  -- The answer to this very request was lost on its way.
  return {'taken', tonumber(redis.call('HGET', job, 'fence')), tonumber(redis.call('HGET', job, 'deliveries'))}
end
local clock, served = clock_of(turn)
if served > tonumber(redis.call('HGET', clocks, clock) or '0') then redis.call('HSET', clocks, clock, served) end
local deliveries = redis.call('HINCRBY', job, 'deliveries', 1)
local fence = math.max(tonumber(redis.call('HGET', job, 'fence')) + 1, now)
redis.call('HSET', job, 'fence', fence, 'owner', ARGV[3])
redis.call('ZADD', leases, now + tonumber(ARGV[4]), id)
redis.call('HSETNX', job, 'started_at', now)
redis.call('ZREM', waiting, id)
if status == 'canceling' then return {'canceling', fence, deliveries} end
redis.call('HSET', job, 'status', 'running')
if deliveries > tonumber(ARGV[5]) then
  if deliveries == tonumber(ARGV[5]) + 1 then count('dead_letters', 'lost') end
  return {'exhausted', fence, deliveries}
end
emit('status', cjson.encode({status = 'running'}))
return {'taken', fence, deliveries}
"""
)

# ARGV: ..., fence, by how much. A delivery that waits inside of its worker has not begun, and does not count.
COUNT: Final = (
    _HEAD
    + """
if stale(ARGV[3]) then return 0 end
redis.call('HINCRBY', job, 'deliveries', ARGV[4])
return 1
"""
)

# ARGV: ..., fence, lease ms.
RENEW: Final = (
    _HEAD
    + """
if stale(ARGV[3]) then return 'lost' end
although_full()
redis.call('ZADD', leases, now + tonumber(ARGV[4]), id)
return redis.call('HGET', job, 'status')
"""
)

# ARGV: ..., fence, event name, data, is progress.
EMIT: Final = (
    _HEAD
    + """
if stale(ARGV[3]) then return 0 end
if ARGV[6] == '1' then redis.call('HSET', job, 'progress', ARGV[5]) end
emit(ARGV[4], ARGV[5])
return 1
"""
)

# ARGV: ..., fence, key of the checkpoint in the store.
SAVED: Final = (
    _HEAD
    + """
if stale(ARGV[3]) then return 0 end
although_full()
redis.call('HSET', job, 'checkpoint', ARGV[4])
return 1
"""
)

# ARGV: ..., fence. Whether this worker may still write the job's end, and the moment; and how often it was delivered.
ENDING: Final = (
    _HEAD
    + """
if stale(ARGV[3]) then return {0, 0} end
return {now, tonumber(redis.call('HGET', job, 'deliveries'))}
"""
)

# KEYS: ..., unswept, unannounced. ARGV: ..., status, error, finished_at, result fence, deliveries, event ttl s.
# The store says how the job has ended, so this asks for no fence. It raises it: whoever still works on the job stops.
SETTLE: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if not status or terminal(status) then return 0 end
although_full()
redis.call('HSET', job, 'status', ARGV[3], 'error', ARGV[4], 'finished_at', ARGV[5], 'result_fence', ARGV[6],
  'deliveries', ARGV[7])
redis.call('HINCRBY', job, 'fence', 1)
redis.call('HDEL', job, 'owner', 'checkpoint')
not_of_caller()
redis.call('SREM', active, id)
redis.call('ZREM', waiting, id)
leave_turn()
redis.call('ZREM', leases, id)
redis.call('ZREM', delayed, id)
redis.call('ZADD', ended, ARGV[5], id)
redis.call('SADD', KEYS[11], id)
redis.call('SADD', KEYS[12], id)
count('jobs_ended', ARGV[3])
if ARGV[4] ~= '' then count('job_failures', string.match(cjson.decode(ARGV[4]).type, '[%w-]*$')) end
emit('status', cjson.encode({status = ARGV[3]}))
redis.call('ZADD', expiring, now + ARGV[8] * 1000, events)
return 1
"""
)

# A running job is asked to stop. Returns the status, or 'unknown'.
CANCEL: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if not status then return 'unknown' end
if status == 'running' then
  although_full()
  redis.call('HSET', job, 'status', 'canceling')
  emit('status', cjson.encode({status = 'canceling'}))
  return 'canceling'
end
return status
"""
)

# ARGV: ..., fence, contract that the request needs. A worker that drains, or cannot read the request, hands it back.
RELEASE: Final = (
    _HEAD
    + """
if redis.call('HGET', job, 'fence') ~= ARGV[3] then return 0 end
if redis.call('HGET', job, 'status') ~= 'running' then return 0 end
although_full()
redis.call('HINCRBY', job, 'deliveries', -1)
if tonumber(ARGV[4]) > 1 then redis.call('HSET', job, 'contract', ARGV[4]) end
wait_again(0, tonumber(ARGV[4]) > own_contract and 'newer' or 'drain')
return 1
"""
)

# ARGV: ..., fence, first delay ms, longest delay ms, retry limit. A fault that passes: the delivery does not count.
# Returns the delay, 0 where refused, -1 where the limit is reached.
RETRY: Final = (
    _HEAD
    + """
if redis.call('HGET', job, 'fence') ~= ARGV[3] then return 0 end
if redis.call('HGET', job, 'status') ~= 'running' then return 0 end
although_full()
local retries = redis.call('HINCRBY', job, 'retries', 1)
if retries > tonumber(ARGV[6]) then
  if retries == tonumber(ARGV[6]) + 1 then count('dead_letters', 'fault') end
  return -1
end
local delay = math.min(tonumber(ARGV[4]) * 2 ^ (retries - 1), tonumber(ARGV[5]))
redis.call('HINCRBY', job, 'deliveries', -1)
wait_again(delay, 'fault')
return delay
"""
)

# The reaper's look at a job whose lease has run out or whose delay is over.
REAP: Final = (
    _HEAD
    + """
local status = redis.call('HGET', job, 'status')
if not status or terminal(status) then
  redis.call('SREM', active, id)
  redis.call('ZREM', leases, id)
  redis.call('ZREM', delayed, id)
  redis.call('ZREM', waiting, id)
  leave_turn()
  return 'ended'
end
if status == 'queued' then
  local due = tonumber(redis.call('ZSCORE', delayed, id) or '0')
  if due > now then return 'delayed' end
  redis.call('ZREM', delayed, id)
  line_up()
  return 'queued'
end
if tonumber(redis.call('ZSCORE', leases, id) or '0') > now then return 'held' end
if status == 'canceling' then return 'canceling' end
wait_again(0, 'lost')
return 'requeued'
"""
)

# A record whose request is not in the store: it was never acknowledged. KEYS: ..., order, order of the kind.
# ARGV: ..., order member.
FORGET: Final = (
    _HEAD
    + """
redis.call('SREM', active, id)
redis.call('ZREM', leases, id)
redis.call('ZREM', delayed, id)
redis.call('ZREM', waiting, id)
leave_turn()
redis.call('ZREM', ended, id)
not_of_caller()
redis.call('ZREM', KEYS[11], ARGV[3])
redis.call('ZREM', KEYS[12], ARGV[3])
return redis.call('DEL', job, events)
"""
)
