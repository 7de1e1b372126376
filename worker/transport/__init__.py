"""Optimal transport between label spaces: pure functions on tensors.

May be called by ``worker.assessment`` and ``worker.distillation``; knows nothing of teachers, HTTP or Redis.
"""
