"""One module for each upload format: reads untrusted bytes into items, within limits.

Called by `service.ingest.probe` inside a sandboxed process; `formats` is the table of formats.
"""
