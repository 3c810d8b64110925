"""The definitions that this release runs."""

from workflows.athlete_onboarding import athlete_onboarding
from workflows.booking_request import booking_request
from workflows.engine.registry import Registry
from workflows.payment_report import payment_report
from workflows.session_completion import session_completion

registry = Registry(athlete_onboarding, booking_request, session_completion, payment_report)
