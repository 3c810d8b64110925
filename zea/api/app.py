"""The HTTP application. Run it with `uvicorn --factory zea.api.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version

from fastapi import FastAPI

from zea.api.errors import add_handlers
from zea.api.limits import BodyLimit
from zea.api.schemas import PROBLEM_RESPONSES
from zea.config import settings

ROUTES = (
    "health",
    "auth",
    "me",
    "athletes",
    # "coaches",
    # "bookings",
    # "credits",
    # "notifications",
    # "executions",
    "admin_users",
)


def create_app() -> FastAPI:
    """A new application.

    Raises:
        ConfigurationError: a setting is missing or unsafe.
    """
    settings()
    app = FastAPI(
        title="zea",
        version=version("zea"),
        description="Athletes book hours with coaches and pay with credits.",
        lifespan=lifespan,
        responses=PROBLEM_RESPONSES,
        # A redirected POST is lost on many clients: a path is right as it is documented, or not found.
        redirect_slashes=False,
    )
    add_handlers(app)
    app.add_middleware(BodyLimit)
    for name in ROUTES:
        app.include_router(import_module(f"zea.api.routes.{name}").router)
    return app


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """What runs beside the requests: zea.api.waiting's one subscription goes around the yield."""
    yield
