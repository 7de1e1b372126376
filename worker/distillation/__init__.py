"""Trains a student from teachers across label sets: losses, students, the trainer, exported results.

Imports ``worker.transport`` and ``worker.teachers``; never ``worker.ranking``. ``distill`` is the entry point: it takes
arrays of the teachers' outputs, not teachers, and uses neither Redis nor HTTP.
"""
