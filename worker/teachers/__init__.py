"""Load, validate and run a teacher of any source, and cache its outputs.

Called by ``worker.assessment`` and ``worker.distillation``; knows nothing of transport or HTTP.
"""
