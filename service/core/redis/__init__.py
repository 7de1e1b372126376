"""Redis: the client, the embedded server, the names of all keys, the counters and the blob cache.

Redis keys are spelled only here (`keys`). Independent of jobs, teachers and HTTP.
"""
