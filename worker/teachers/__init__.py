"""Load, validate and run a teacher of any source, and cache its outputs.

Called by ``worker.ranking`` and ``worker.distillation``; knows nothing of transport or HTTP.
"""
