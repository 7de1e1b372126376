"""Plain float64 implementations, written to be read: the tests hold the fast ones against them."""

from worker.transport.reference.entropic import EntropicPlan, entropic_reference

__all__ = ["EntropicPlan", "entropic_reference"]
