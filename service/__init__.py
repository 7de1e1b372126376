"""The HTTP frontend: requests in, jobs out.

Called by MLOps pipelines, the SDK and the command line. Imports neither torch nor ``worker``.
"""
