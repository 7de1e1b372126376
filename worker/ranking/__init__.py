"""Ranking of teachers for a student: estimators, blend, uncertainty, explanation.

Depends on ``worker.transport`` and ``worker.teachers``; never on ``worker.distillation``.
"""
