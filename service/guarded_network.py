"""Connections of the service's own HTTP clients: only to checked addresses, whoever chose the name."""

from collections.abc import Iterable
from typing import Final, cast

import httpcore2

from service.network.egress import Egress, Resolve

_CONNECT_SECONDS: Final = 4.0
"""For one address; where it does not answer there is time for another."""


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connections to checked addresses. HTTP above goes on with the name: for `Host`, and as TLS server name."""

    def __init__(self, egress: Egress, look_up: Resolve) -> None:
        self._egress = egress
        self._look_up = look_up
        self._network = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  The interface has it.
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that answers.

        Raises
        ------
        Refused
            Before anything was sent: the host, or one of its addresses, is not permitted.
        """
        failure: Exception = httpcore2.ConnectError("no address answers")
        for address in await self._egress.addresses(host, port, self._look_up):
            try:
                return await self._network.connect_tcp(address, port, _CONNECT_SECONDS, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
