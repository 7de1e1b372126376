"""Delivers messages to webhooks: signs them, posts them to permitted addresses, retries failed attempts."""
