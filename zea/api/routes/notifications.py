"""What a person was told."""

from uuid import UUID

from zea.api import routing
from zea.api.deps import CurrentUser, Db
from zea.api.paging import Page, Paging, page
from zea.notifications import service
from zea.notifications.models import Notification
from zea.notifications.schemas import NotificationView

router = routing.router("/api/me/notifications", "notifications")


@router.get("")
def my_notifications(user: CurrentUser, db: Db, paging: Paging) -> Page[NotificationView]:
    """What one was told."""
    inbox = service.inbox(user.id)
    return page(db, inbox, Notification.created_at, Notification.id, paging, NotificationView.of)


@router.post("/{notification_id}/read")
def mark_read(notification_id: UUID, user: CurrentUser, db: Db) -> NotificationView:
    """Note that it was read; the moment of the first time is kept."""
    return NotificationView.of(service.mark_read(db, notification_id, user.id))
