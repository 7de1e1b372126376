"""What must not be lost: the store, the job records, the lanes, events and caches.

Used by ``service.api`` and by ``worker``; knows the contract and nothing of HTTP or models.
"""
