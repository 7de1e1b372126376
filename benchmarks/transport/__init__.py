"""The transport engine against its peers, side by side: ``python -m benchmarks.transport``."""
