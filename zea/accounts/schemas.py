"""What people send and see about accounts and athletes' profiles."""

from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Literal, Self
from uuid import UUID
from zoneinfo import available_timezones

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from zea.accounts.models import AthleteProfile, Role, User
from zea.config import settings


def _email(value: str) -> str:
    # On one machine mail goes to a folder: people there may have addresses like ana@zea.localhost.
    anywhere = settings().environment == "local"
    try:
        found = validate_email(value.strip(), check_deliverability=False, globally_deliverable=not anywhere)
    except EmailNotValidError:
        raise ValueError("this is no email address: write it like ana@example.com") from None
    return found.normalized


@lru_cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _time_zone(value: str) -> str:
    if value not in _time_zones():
        raise ValueError("this is no time zone: use a name like America/Santiago")
    return value


Email = Annotated[str, Field(max_length=320, json_schema_extra={"format": "email"}), AfterValidator(_email)]
# Kept out of `repr`, so that no log line shows it.
Password = Annotated[str, Field(min_length=8, max_length=128, repr=False, json_schema_extra={"format": "password"})]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Locale = Literal["es", "en"]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
LongText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=5000)]


class Request(BaseModel):
    """What a person sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Registration(Request):
    """A new athlete's own request for an account."""

    email: Email
    password: Password
    name: Name | None = None
    locale: Locale = "es"
    timezone: TimeZone = Field(default_factory=lambda: settings().timezone)


class NewUser(Registration):
    """An account made by an admin or the command line."""

    role: Role


class UserChanges(Request):
    """What people may change about themselves; what is absent or null stays."""

    name: Name | None = None
    locale: Locale | None = None
    timezone: TimeZone | None = None


class AccountChanges(Request):
    """What admins may change about an account; what is absent or null stays."""

    is_active: bool | None = None
    role: Role | None = None


class ExperienceLevel(StrEnum):
    """How far an athlete has come."""

    BEGINNER = "beginner"
    INTERMEDIATE = "intermediate"
    ADVANCED = "advanced"
    PROFESSIONAL = "professional"


class Profile(Request):
    """What an athlete tells their coaches."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    sport: ShortText
    position: ShortText
    objectives: list[ShortText] = Field(min_length=1, max_length=50)
    experience_level: ExperienceLevel
    injury_history: LongText | None = Field(default=None, repr=False)
    special_notes: LongText | None = Field(default=None, repr=False)

    @classmethod
    def of(cls, profile: AthleteProfile) -> Self:
        return cls.model_validate(profile)


class Me(BaseModel):
    """A person's own account."""

    user_id: UUID
    email: str
    name: str
    roles: list[Role]
    can_book: bool
    locale: str
    timezone: str

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            user_id=user.id,
            email=user.email,
            name=user.name,
            roles=[Role(user.role)],
            can_book=user.can_book,
            locale=user.locale,
            timezone=user.timezone,
        )


class TokenPair(BaseModel):
    """An access token for ``expires_in`` seconds, and the refresh token that gives the next pair once."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 the word of RFC 6750, no secret
    expires_in: int
