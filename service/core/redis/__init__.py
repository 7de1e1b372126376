"""Redis: the client, the embedded server, the names of all keys, counters and the blob cache.

The only place where a Redis key is spelled (`keys`). Knows nothing of jobs, teachers or HTTP.
"""
