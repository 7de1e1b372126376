"""The store and its documents: objects by key, records with versions, probe files, the local cache.

Used by `service.core.jobs`, `service.core.webhooks`, the frontend and the workers. Keys are made from ids and digests
(`object_keys`), never from user input.
"""
