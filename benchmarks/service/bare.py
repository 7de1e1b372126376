"""The baseline: a FastAPI application with one route that returns fixed bytes, under the service's own server."""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response


def main() -> None:
    """`python -m benchmarks.service.bare PORT FILE`"""
    port, file = sys.argv[1:]
    content = Path(file).read_bytes()
    app = FastAPI()

    @app.get("/bare")
    async def bare() -> Response:
        """The fixed bytes."""
        return Response(content, media_type="application/json")

    uvicorn.run(app, port=int(port), log_config=None, access_log=False, server_header=False)


if __name__ == "__main__":
    main()
