"""The operator's command `preceptor-server`: serve, run a worker, run a development stack, manage API keys.

`root` holds the command, one module each subcommand. Called from the command line; only tests, benchmarks and the demo
import a part of it (`dev_stack.Stack`).
"""
