"""What zea writes to admins about payment reports, in Spanish and in English."""

from datetime import date

from zea.notifications.attachments import Form
from zea.notifications.texts import Language, Reader, Text, day, letter, one_line
from zea.reports.periods import last_day
from zea.reports.schemas import Period, Summary


def report_ready(
    reader: Reader,
    *,
    report_id: str,
    revision: int,
    period: Period,
    summary: Summary,
    form: Form,
    coach_name: str | None,
) -> Text:
    """To whoever pays the coaches."""
    first, last, coach = day(reader, period.start_date), day(reader, period.end_date), one_line(coach_name or "")
    if reader.language is Language.ENGLISH:
        return Text(
            f"Payment report {_span(period)}: {coach or 'all coaches'}",
            letter(
                f"Hi {one_line(reader.name)},",
                f"The payment report of {coach or 'all coaches'}, from {first} to {last}, is ready"
                f" (revision {revision}).",
                f"Sessions: {summary.total_sessions}\n"
                f"Hours: {_number(summary.total_hours)}\n"
                f"Average: {_number(summary.average_session_minutes)} minutes\n"
                f"Sessions awaiting feedback: {summary.sessions_awaiting_feedback}",
                _where_in_english(form, report_id),
            ),
        )
    return Text(
        f"Informe de pagos {_span(period)}: {coach or 'todos los coaches'}",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"El informe de pagos de {coach or 'todos los coaches'}, del {first} al {last}, está listo"
            f" (revisión {revision}).",
            f"Sesiones: {summary.total_sessions}\n"
            f"Horas: {_number(summary.total_hours).replace('.', ',')}\n"
            f"Promedio: {_number(summary.average_session_minutes).replace('.', ',')} minutos\n"
            f"Sesiones sin opinión: {summary.sessions_awaiting_feedback}",
            _where_in_spanish(form, report_id),
        ),
    )


def _span(period: Period) -> str:
    """As short as a title should be: the month, if it is one."""
    start, end = period.start_date, period.end_date
    return f"{start:%Y-%m}" if _is_month(start, end) else f"{start} – {end}"


def _is_month(start: date, end: date) -> bool:
    return start.day == 1 and end == last_day(start)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _where_in_english(form: Form, report_id: str) -> str:
    match form:
        case Form.CSV:
            return "Every session is in the attached file."
        case Form.ZIP:
            return "Every session is in the attached file, which is compressed because of its size."
    return f"The file with every session is too large for a mail: get /api/admin/reports/{report_id}.csv."


def _where_in_spanish(form: Form, report_id: str) -> str:
    match form:
        case Form.CSV:
            return "Todas las sesiones están en el archivo adjunto."
        case Form.ZIP:
            return "Todas las sesiones están en el archivo adjunto, comprimido por su tamaño."
    place = f"/api/admin/reports/{report_id}.csv"
    return f"El archivo con todas las sesiones es demasiado grande para un correo: descárgalo de {place}."
