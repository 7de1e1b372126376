"""Outgoing connections and host names: addresses that the service may connect to, names that it answers to."""
