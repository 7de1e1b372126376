"""Transferability estimators: one module each, all listed in ``registry``.

An estimator is a pure function from ``Evidence`` (the available data of one teacher and one student) to a ``Score``.
Called by the rest of ``worker.ranking`` and by benchmarks; independent of HTTP and Redis, and loads no model.
"""
