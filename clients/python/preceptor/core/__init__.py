"""All that the SDK knows, free of any transport: requests, retries, errors, paging, event streams, transfers.

Written as procedures (generators) that yield effects (`effects.py`); `sync` and `aio` only carry effects out.
Knows nothing of httpx2, threads or event loops.
"""
