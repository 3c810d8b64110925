"""The definitions that this release runs."""

from workflows.booking_request import booking_request
from workflows.engine.registry import Registry

registry = Registry(booking_request)
