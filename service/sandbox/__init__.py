"""Processes that read what strangers send: a bare environment, caps on memory, time and files, JSON on a channel.

Used by ``service.ingest`` for uploads and by ``worker.teachers`` for models. Knows neither; the caller names the
module that does the work.
"""
