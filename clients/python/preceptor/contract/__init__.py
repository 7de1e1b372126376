"""Pydantic models of everything that crosses HTTP.

Shared by the SDK, the service and the worker; imports nothing but pydantic.
"""
