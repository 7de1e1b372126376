"""`python -m service`: the HTTP frontend alone."""

import asyncio
import sys
from typing import Final

import uvicorn

from service.api.authenticated import UnsafeAddress, keys_are_asked_for
from service.app import create_app
from service.leaving import leave
from service.logs import configure
from service.oidc.optional import LibraryMissing
from service.slow_clients import protocol
from service.state.api_keys import ApiKeys
from service.state.private import close_to_others
from service.state.settings import Settings
from service.state.store import Store
from service.telemetry import TelemetryMissing, switch_on

_MISCONFIGURED: Final = 78  # EX_CONFIG of sysexits.h


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    configure(settings, process="service")
    close_to_others()
    store = Store(settings.store_url, settings.data.absolute() / "scratch")
    try:
        asyncio.run(keys_are_asked_for(settings, ApiKeys(store)))
        app = create_app(settings)
        end_traces = switch_on("service")
    except (UnsafeAddress, LibraryMissing, TelemetryMissing) as error:
        print(error, file=sys.stderr)
        leave(_MISCONFIGURED)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol(settings.head_seconds, settings.max_connections),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    end_traces()


if __name__ == "__main__":
    main()
