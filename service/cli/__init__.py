"""The operator's commands: serve, run a development stack, manage API keys.

Called from the command line alone; nothing else imports it.
"""
