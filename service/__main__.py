"""`python -m service`: the HTTP frontend alone."""

import uvicorn

from service.app import create_app
from service.logs import configure
from service.state.settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    configure(settings, process="service")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
        server_header=False,
    )


if __name__ == "__main__":
    main()
