"""`/healthz`, `/readyz` and `/metrics`: how the service is, for orchestrators and Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MappingStates = Callable[[], Sequence[Mapping[str, object]]]
"""Each mapping as its name, `State`, `StateTransitionReason`, `LastProcessingResult` and what is the matter."""


def application(registry: CollectorRegistry, mappings: MappingStates, alive: Callable[[], bool]) -> Starlette:
    """The ASGI application.

    Args:
        registry: what `/metrics` shows.
        mappings: asked at every request; must not block.
        alive: whether every thread that should run does.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"} if alive() else {"status": "a poller has died"}, 200 if alive() else 500)

    async def readyz(_: Request) -> Response:
        states = mappings()
        ready = all(mapping["State"] != "Creating" and not mapping["Problem"] for mapping in states)
        return JSONResponse({"ready": ready, "mappings": states}, 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )
