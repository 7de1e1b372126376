"""Processes that read untrusted input: minimal environment, limits on memory, time and files, JSON messages.

Used by ``service.ingest`` for uploads and by ``worker.teachers`` for models. Independent of both: the caller names the
module that does the work.
"""
