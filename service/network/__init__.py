"""Outgoing connections and host names: which addresses the service may reach, which names it answers to."""
