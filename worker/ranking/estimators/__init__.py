"""Transferability estimators: one file each, all listed in ``registry``.

An estimator is a pure function of ``Evidence`` (what is at hand for one teacher and one student) to a ``Score``.
May be called by the rest of ``worker.ranking`` and by benchmarks; knows no HTTP, no Redis and loads no model.
"""
