"""What the frontend and the workers share: settings, errors, keys, storage, Redis, jobs, webhooks.

Used by ``service`` and by ``worker``; knows the contract and nothing of HTTP or models.
"""
