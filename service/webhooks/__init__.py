"""Delivers messages to webhooks: signs them, posts them to addresses that may be reached, tries again later."""
