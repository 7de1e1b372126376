"""Logs and traces of all processes: configuration, spans, export, causes of failures."""
