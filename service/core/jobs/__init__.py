"""Jobs: the record and its fence, leases, events, recovery, and the queue that delivers them.

Used by `service.actions` (submit, cancel, read) and by `worker.jobs` (take, renew, write, end). Knows storage and
Redis; knows nothing of HTTP, models or what a job computes.
"""
