"""Sends requests with httpx2: a synchronous and an asynchronous driver for the procedures of `preceptor.core`.

The only package of the SDK that imports httpx2 for requests; `preceptor.resources` and the clients call it.
"""
