"""Accounts without a database: addresses, passwords, tokens, and what people may send."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from pydantic import ValidationError

from zea import clock, config
from zea.accounts import passwords, tokens
from zea.accounts.models import Role
from zea.accounts.schemas import Profile, Registration
from zea.accounts.service import email_key
from zea.accounts.tokens import Identity
from zea.errors import Unauthenticated

PASSWORD = "correct horse battery"
PROFILE = {"sport": "tennis", "position": "single", "objectives": ["serve"], "experience_level": "beginner"}


@pytest.mark.parametrize("other", ["ANA@EXAMPLE.COM", " ana@example.com ", "ａｎａ@example.com"])
def test_an_address_is_the_same_however_it_is_written(other: str) -> None:
    assert email_key(other) == email_key("ana@example.com")


def test_composed_and_decomposed_letters_are_the_same_address() -> None:
    assert email_key("jos\u00e9@example.com") == email_key("jose\u0301@example.com")


def test_other_addresses_stay_other_addresses() -> None:
    assert email_key("ana@example.com") != email_key("ana.b@example.com")


def test_a_password_is_kept_as_argon2id() -> None:
    assert passwords.hash_password(PASSWORD).startswith("$argon2id$")


def test_only_the_right_password_matches() -> None:
    kept = passwords.hash_password(PASSWORD)
    assert passwords.matches(PASSWORD, kept)
    assert not passwords.matches(PASSWORD + "!", kept)


def test_a_password_matches_when_another_keyboard_composes_its_letters() -> None:
    assert passwords.matches("contrasen\u0303a", passwords.hash_password("contrase\u00f1a"))


def test_an_unknown_account_costs_one_verification_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = passwords.hash_password(PASSWORD)
    passwords.matches("warm", None)
    verified: list[str] = []

    class Counting:
        def verify(self, _: str, password_hash: str) -> bool:
            verified.append(password_hash.rsplit("$", 2)[0])
            return True

    monkeypatch.setattr(passwords, "HASHER", Counting())
    assert passwords.matches(PASSWORD, kept)
    assert not passwords.matches(PASSWORD, None)
    assert verified[0] == verified[1], "the same parameters, so the same time"


def test_a_token_names_its_user_and_role() -> None:
    user_id = uuid4()
    assert tokens.identify(tokens.access_token(user_id, Role.COACH)) == Identity(user_id, Role.COACH)


def claims(**changes: Any) -> dict[str, Any]:
    now = clock.now()
    valid = {
        "sub": str(uuid4()),
        "role": "admin",
        "iss": "zea",
        "aud": "zea-api",
        "iat": now,
        "exp": now + timedelta(minutes=1),
    }
    return {name: value for name, value in (valid | changes).items() if value is not None}


def signed(content: dict[str, Any], algorithm: str = "HS256") -> str:
    return jwt.encode(content, config.settings().secret_key.get_secret_value(), algorithm=algorithm)


def test_a_token_made_by_the_rules_is_accepted() -> None:
    assert tokens.identify(signed(claims())).role is Role.ADMIN


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": clock.now() - timedelta(seconds=1)},
        {"exp": None},
        {"iss": "somebody"},
        {"iss": None},
        {"aud": "another-api"},
        {"aud": None},
        {"sub": "not-an-id"},
        {"sub": None},
        {"role": "owner"},
        {"role": None},
    ],
    ids=",".join,
)
def test_a_token_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.identify(signed(claims(**changes)))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_the_algorithm_of_the_header_is_not_believed() -> None:
    unsigned = jwt.encode(claims(), key=None, algorithm="none")
    for token in (unsigned, signed(claims(), "HS384"), signed(claims(), "HS512"), "nonsense", ""):
        with pytest.raises(Unauthenticated):
            tokens.identify(token)


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        tokens.identify(jwt.encode(claims(), "another key of more than thirty-two characters", algorithm="HS256"))


def test_a_refresh_token_is_random_and_kept_as_a_hash() -> None:
    token = tokens.new_refresh_token()
    assert len(token) == 43
    assert token != tokens.new_refresh_token()
    assert token not in tokens.refresh_hash(token)


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody"},
        {"password": "1234567"},
        {"password": "x" * 129},
        {"name": "   "},
        {"locale": "fr"},
        {"timezone": "Chile/Santiago"},
        {"timezone": "../../etc/passwd"},
        {"timezone": "America"},
        {"role": "admin"},
    ],
    ids=str,
)
def test_a_registration_that_breaks_a_rule_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Registration.model_validate({"email": "ana@example.com", "password": PASSWORD} | change)


@pytest.mark.parametrize("length", [8, 128])
def test_passwords_of_the_allowed_lengths_are_accepted(length: int) -> None:
    assert Registration(email="ana@example.com", password="x" * length).locale == "es"


def test_a_password_is_not_shown_when_a_request_is_printed() -> None:
    assert PASSWORD not in repr(Registration(email="ana@example.com", password=PASSWORD))


@pytest.mark.parametrize("change", [{"objectives": []}, {"experience_level": "expert"}, {"sport": " "}], ids=str)
def test_an_incomplete_profile_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Profile.model_validate(PROFILE | change)
