"""`/healthz`, `/readyz` and `/metrics`: how the service is, for orchestrators and Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from poller.running_service import IDENTITY

MappingStates = Callable[[], Sequence[Mapping[str, object]]]
"""Each mapping as its name, `State`, `StateTransitionReason`, `LastProcessingResult` and what is the matter."""


def application(
    registry: CollectorRegistry,
    mappings: MappingStates,
    alive: Callable[[], bool],
    *,
    refresh: Callable[[], None] | None = None,
    workers: Callable[[], Sequence[Mapping[str, object]]] | None = None,
    calls: Sequence[BaseRoute] = (),
    identity: str = "",
) -> Starlette:
    """The ASGI application.

    Args:
        registry: what `/metrics` shows.
        mappings: asked at every request; must not block.
        alive: whether every thread that should run does.
        refresh: called before each answer, on some thread: brings the others' answers up to date, and may wait for it.
        workers: how each worker is, where there are several; must not block.
        calls: further routes.
        identity: which template's functions can be invoked here, as `poller.running_service` names it.
    """

    async def up_to_date() -> None:
        if refresh is not None:
            await run_in_threadpool(refresh)

    async def healthz(_: Request) -> Response:
        await up_to_date()
        well = alive()
        body: dict[str, object] = {"status": "ok" if well else "a poller has died"}
        if workers is not None:
            body["workers"] = workers()
        return JSONResponse(body, 200 if well else 500, {IDENTITY: identity} if identity else None)

    async def readyz(_: Request) -> Response:
        await up_to_date()
        states = mappings()
        ready = all(mapping["State"] != "Creating" and not mapping["Problem"] for mapping in states)
        return JSONResponse({"ready": ready, "mappings": states}, 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        await up_to_date()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *calls,
        ]
    )
