"""Password hashes: argon2id, the same work for an account that does not exist, and bounded memory."""

from functools import lru_cache
from threading import BoundedSemaphore
from unicodedata import normalize

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

# The parameters of OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane. pwdlib's own defaults (64 MiB,
# four lanes) would let a rush of sign-ins take all cores from the bookings beside it.
HASHER = PasswordHash((Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1),))

# However many threads serve sign-ins, they hash four at a time: at most 76 MiB.
AT_ONCE = BoundedSemaphore(4)


def hash_password(password: str) -> str:
    """The salted hash to keep. Takes tens of milliseconds: call it before the first statement of a transaction."""
    with AT_ONCE:
        return HASHER.hash(_normalised(password))


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password is the one behind the hash; without a hash, False after the same work."""
    with AT_ONCE:
        right = HASHER.verify(_normalised(password), password_hash or _hash_of_nobody())
    return right and password_hash is not None


def _normalised(password: str) -> str:
    """The same characters typed on another keyboard are the same password (NIST SP 800-63B, section 3.1.1.2)."""
    return normalize("NFKC", password)


@lru_cache
def _hash_of_nobody() -> str:
    return HASHER.hash("the password of no account")
