"""How good a teacher is for a student: estimators, ranking, explanation.

Knows ``worker.transport`` and ``worker.teachers``; never ``worker.distillation``.
"""
