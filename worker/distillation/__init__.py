"""Trains a student from teachers across label sets: losses, students, the trainer, exported results.

Knows ``worker.transport`` and ``worker.teachers``; never ``worker.ranking``. ``distill`` is the door: it takes
arrays of what the teachers said, not teachers, and knows neither Redis nor HTTP.
"""
