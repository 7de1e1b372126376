"""Trains a student from teachers across label sets: losses, students, the trainer, exported results.

Knows ``worker.transport`` and ``worker.teachers``; never ``worker.assessment``.
"""
