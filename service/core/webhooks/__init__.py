"""Stored state of webhooks: subscriptions, pending deliveries and their claims.

The frontend's dispatcher (`service.webhooks`) sends the messages; this package opens no connections.
"""
