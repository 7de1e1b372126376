"""Webhooks as stored state: subscriptions, pending deliveries and their claims.

The frontend's dispatcher (`service.webhooks`) sends them; nothing here opens a connection.
"""
