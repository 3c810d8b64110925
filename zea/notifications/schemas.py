"""What people see of their notifications."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from zea.notifications.models import Notification


class NotificationView(BaseModel):
    """One message to the person who asks."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    notification_id: UUID = Field(validation_alias="id")
    kind: str
    title: str = Field(repr=False)
    body: str = Field(repr=False)
    created_at: datetime
    read_at: datetime | None

    @classmethod
    def of(cls, notification: Notification) -> Self:
        return cls.model_validate(notification)
