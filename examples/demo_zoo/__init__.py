"""A zoo of real teachers and two student tasks, built in under a minute from data and weights in packages.

``python -m examples.demo_zoo.build --out FOLDER`` writes it. Needs the extra ``demo``; downloads nothing.
"""
