"""ASGI middleware: authentication, limits on bodies and hosts, overload, the request log.

Assembled in `service.app`. A middleware knows HTTP and `service.core`; it knows no route.
"""
