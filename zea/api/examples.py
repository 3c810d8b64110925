"""Examples of what is sent and answered, made from the schemas: a field's own example, or that of its name."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

ATHLETE, COACH = "0198c0de-0000-7000-8000-0000000000a1", "0198c0de-0000-7000-8000-0000000000c1"
BOOKING, SLOT = "0198c0de-0000-7000-8000-0000000000b1", "0198c0de-0000-7000-8000-000000000051"
EXECUTION, OTHER = "0198c0de-0000-7000-8000-0000000000e1", "0198c0de-0000-7000-8000-0000000000f1"
START, END, LATER = "2026-03-02T09:00:00-03:00", "2026-03-02T10:00:00-03:00", "2026-03-09T09:00:00-03:00"
REPORT = "report-ALL_COACHES-2026-03-01-2026-03-31"
CURSOR = "WyIyMDI2LTAzLTAyVDEyOjAwOjAwKzAwOjAwIiwiMDE5OGMwZGUiXQ"

# By a field's name, unless "Schema.field" is there too.
VALUES: Mapping[str, Any] = {
    "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
    "actor": f"user:{ATHLETE}",
    "actual_duration_minutes": 95,
    "actual_end_time": "2026-03-02T10:35:00-03:00",
    "actual_start_time": START,
    "age_seconds": 0.0,
    "amount": 10,
    "approval_id": OTHER,
    "approval_type": "athlete_session_feedback",
    "areas_to_improve": ["volea"],
    "areas_worked": ["saque", "salida de tacos"],
    "assignee": f"user:{ATHLETE}",
    "athlete_id": ATHLETE,
    "attempt": 1,
    "average_session_minutes": 95.0,
    "balance": 10,
    "billable_minutes": 95,
    "body": "Hola, Ana:\n\nTu entrenamiento con Camila Rojas quedó confirmado.",
    "booking_id": BOOKING,
    "BookingView.actual_duration_minutes": None,
    "BookingView.actual_end_time": None,
    "BookingView.actual_start_time": None,
    "BookingView.status": "CONFIRMED",
    "can_book": True,
    "CancelledBooking.actual_duration_minutes": None,
    "CancelledBooking.actual_end_time": None,
    "CancelledBooking.actual_start_time": None,
    "CancelledBooking.status": "CANCELLED",
    "ConfirmedBooking.status": "CONFIRMED",
    "cancelled_by": f"user:{OTHER}",
    "client_id": None,
    "client_secret": None,
    "coach_id": COACH,
    "coach_name": "Camila Rojas",
    "comments": "¡Gran sesión!",
    "completed_steps": 6,
    "csv_bytes": 16_545_089,
    "csv_name": f"{REPORT}.csv",
    "current_step_index": 6,
    "current_step_name": "notify_coach",
    "cursor": CURSOR,
    "EventPage.next_cursor": None,
    "data": {"rating": 5, "objectives_met": True},
    "decided_by": f"user:{ATHLETE}",
    "duration_seconds": 0.004,
    "elapsed_seconds": 0.021,
    "email": "ana@example.com",
    "end": "13:00",
    "end_date": "2026-03-31",
    "ends_at": END,
    "entry_id": OTHER,
    "error": None,
    "error_kind": "slot_unavailable",
    "execution_id": EXECUTION,
    "expires_at": LATER,
    "expires_in": 900,
    "failed_in_last_hour": 0,
    "field": "amount",
    "from": START,
    "NewWeeklySlots.from": "2026-03-02",
    "NewWeeklySlots.until": "2026-06-29",
    "from_step": "notify_coach",
    "grant_type": "password",
    "Idempotency-Key": "booking-2026-03-02-0900",
    "injury_history": "Rodilla izquierda, 2024.",
    "inputs": {"athlete_id": ATHLETE, "coach_id": COACH, "slot_datetime": START, "athlete_notes": {"personal": True}},
    "instance": "/api/bookings",
    "is_active": True,
    "is_current": True,
    "Last-Event-ID": "3",
    "after": 3,
    "latest_revision": 2,
    "limit": 50,
    "locale": "es",
    "message": "Tu cuenta está lista. Completa tu perfil para reservar.",
    "ReceivedFeedback.message": "¡Gracias! Tu respuesta quedó registrada.",
    "RecordedSession.message": "La sesión quedó registrada. Pedimos su opinión al atleta y al coach.",
    "ErrorStatus.message": "This slot is taken: choose another one.",
    "name": "Ana Pérez",
    "CoachView.name": "Camila Rojas",
    "next_cursor": CURSOR,
    "notes": "Trabajemos la salida de tacos.",
    "notes_for_next_session": "Empezar por la volea.",
    "notification_id": OTHER,
    "objectives": ["mejorar el saque"],
    "objectives_met": True,
    "oldest_due_seconds": 0.0,
    "onboarding_execution_id": EXECUTION,
    "output": {"booking_id": BOOKING, "status": "CONFIRMED"},
    "password": "correct horse battery",
    "performance_rating": 4,
    "position": "singles",
    "EventView.position": 1,
    "prefer": "wait=10",
    "progress_percentage": 75.0,
    "queue": "workflows",
    "rating": 5,
    "reason": "lesión de rodilla",
    "CreditChange.reason": "pack de 10 horas",
    "LedgerEntryView.reason": "pack de 10 horas",
    "refresh_token": "pZ3Xn0vS7m1kQ9c2",
    "refunded": True,
    "remaining_seconds": 172_800.0,
    "report_id": REPORT,
    "rerun_of": None,
    "resumable": False,
    "revision": 2,
    "role": "coach",
    "roles": ["athlete"],
    "scope": "",
    "sessions": 3,
    "sessions_awaiting_feedback": 1,
    "slot_datetime": START,
    "slot_id": SLOT,
    "slot_minutes": 60,
    "special_notes": None,
    "sport": "tenis",
    "start": "09:00",
    "start_date": "2026-03-01",
    "started_by": f"user:{ATHLETE}",
    "starts_at": START,
    "status": "running",
    "ApprovalView.data": None,
    "ApprovalView.decided_by": None,
    "ApprovalView.reason": None,
    "ApprovalView.status": "pending",
    "ApprovalView.step_name": "request_athlete_feedback",
    "ApprovalView.workflow_name": "zea_sport.SessionCompletion",
    "ExecutionView.approvals": [],
    "ExecutionView.completed_at": None,
    "ExecutionView.timers": [],
    "FeedbackView.status": "received",
    "EvaluationView.status": "received",
    "Problem.status": 409,
    "step": "confirm_booking",
    "step_index": 5,
    "step_name": "confirm_booking",
    "sweep_lag_seconds": 2.5,
    "subject": f"booking:{BOOKING}",
    "timer": "notify_coach",
    "timezone": "America/Santiago",
    "title": "Tu hora con Camila Rojas está confirmada",
    "to": LATER,
    "total_hours": 4.75,
    "total_minutes": 285,
    "total_sessions": 3,
    "total_steps": 8,
    "traceback": None,
    "type": "step.completed",
    "user_id": ATHLETE,
    "username": "ana@example.com",
    "week": "2026-W10",
    "weekday": 1,
    "workflow": "zea_sport.BookingRequest",
    "workflow_known": True,
    "workflow_name": "zea_sport.BookingRequest",
    "workflow_version": 1,
    "kind": "booking_confirmed",
    "ErrorStatus.kind": "slot_unavailable",
}
OF_TYPE: Json = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
# Of two ways to say it, one.
LEFT_OUT = frozenset({("NewSlots", "slots")})
# What has not happened in the examples.
PENDING = ("decided_at", "read_at", "reminded_at", "cancellation")


def example_of(schema: Json, document: Json, name: str = "", owner: str = "") -> Any:
    """An example of what fits the schema, which ``document`` describes, for a field ``name`` of ``owner``."""
    if "$ref" in schema:
        title = schema["$ref"].rpartition("/")[2]
        return example_of(document["components"]["schemas"][title], document, name, title)
    if (own := f"{owner}.{name}") in VALUES:
        return VALUES[own]
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "object" and "properties" in schema:
        return {
            field: example_of(inner, document, field, owner)
            for field, inner in schema["properties"].items()
            if (owner, field) not in LEFT_OUT
        }
    if schema.get("type") == "array" and "$ref" in schema.get("items", {}):
        return [example_of(schema["items"], document, name, owner)]
    for fixed in ("const", "enum"):
        if fixed in schema:
            return schema[fixed] if fixed == "const" else schema[fixed][0]
    return _named(schema, document, name, owner)


def _named(schema: Json, document: Json, name: str, owner: str) -> Any:
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if name in PENDING:
        return None
    # A type that has a name of its own tells more than the field's.
    if name in VALUES and not (VALUES[name] is not None and choices and "$ref" in choices[0]):
        return VALUES[name]
    for choice in choices:
        return example_of(choice, document, name, owner)
    if schema.get("format") == "date-time":
        return START
    if "default" in schema:
        return schema["default"]
    return nameless(schema, f"{owner}.{name}")


def nameless(schema: Json, _: str) -> Any:
    """An example of a field that VALUES has none for; tests/unit/test_openapi.py sees to it that there is no such."""
    if schema.get("format") == "uuid":
        return OTHER
    return OF_TYPE.get(schema.get("type", ""))
