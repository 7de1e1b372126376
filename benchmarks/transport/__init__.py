"""The transport engine compared with other libraries: ``python -m benchmarks.transport``."""
