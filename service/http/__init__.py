"""What all routes share of HTTP: bodies, strict JSON, problem documents, entity tags, idempotency, responses.

Used by `service.routes` and `service.app`; knows no single resource.
"""
