"""Plain float64 implementations, written for readability: the tests compare the fast ones with them."""

from worker.transport.reference.entropic import EntropicPlan, entropic_reference

__all__ = ["EntropicPlan", "entropic_reference"]
