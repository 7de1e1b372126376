"""Ranking of teachers for a student: estimators, blend, uncertainty, explanation.

Depends on ``worker.transport``; never on ``worker.distillation``.
"""
