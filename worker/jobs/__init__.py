"""Takes jobs from a lane, runs them under their fence, writes what came out.

The only room that knows both the state and the computation; nothing else imports it.
"""
