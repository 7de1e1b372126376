"""`preceptor-server serve`: the HTTP frontend alone."""

import asyncio
import sys

import uvicorn

from service.app import create_app
from service.core.api_keys import ApiKeys
from service.core.observability.logging_config import configure
from service.core.observability.tracing_export import TelemetryMissing, switch_on
from service.core.private_files import close_to_others
from service.core.settings import Settings
from service.core.storage.object_store import Store
from service.middleware.authentication import UnsafeAddress, keys_are_required
from service.oidc.optional import LibraryMissing
from service.server import protocol

from .configuration import MISCONFIGURED
from .exit import leave


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure(settings, process="service")
    close_to_others()
    store = Store(settings.store_url, settings.data.absolute() / "scratch")
    try:
        asyncio.run(keys_are_required(settings, ApiKeys(store)))
        app = create_app(settings)
        end_traces = switch_on("service")
    except (UnsafeAddress, LibraryMissing, TelemetryMissing) as error:
        print(error, file=sys.stderr)
        leave(MISCONFIGURED)
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
