"""`python -m service.cli`: the command `preceptor-server`, without its installed script."""

from .root import app

app(prog_name="preceptor-server")
