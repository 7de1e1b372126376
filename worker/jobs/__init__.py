"""Takes jobs from a lane, runs them under their fence, writes the results.

The only package that imports both the state and the computation; no other package imports it.
"""
