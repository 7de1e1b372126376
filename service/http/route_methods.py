"""Methods that follow from others: HEAD wherever there is GET, and the `Allow` of a 405 (RFC 9110, 9.3.2)."""

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from .strict_route import StrictRoute


class Methods:
    """Which methods each path of these routers takes."""

    def __init__(self, routers: list[APIRouter]) -> None:
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def answer_head(self, app: FastAPI) -> None:
        """Answer HEAD as GET; the server leaves the body out."""
        for route in self._routes:
            if "GET" in (route.methods or ()):
                app.router.add_api_route(
                    route.path,
                    route.endpoint,
                    methods=["HEAD"],
                    response_class=route.response_class,
                    response_model=None,
                    include_in_schema=False,
                    route_class_override=StrictRoute,
                )

    def allowed(self, path: str) -> list[str]:
        """The methods that a path takes."""
        found = {method for route in self._routes if route.path_regex.match(path) for method in route.methods or ()}
        return sorted(found | {"HEAD"} if "GET" in found else found)
