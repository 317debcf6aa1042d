"""sealing: bytes made unreadable and unchangeable by AES-256-GCM, and keys derived by HKDF-SHA256 (RFC 5869)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from typing import Any

from sightline.core.errors import GalleryError, MissingExtraError

KEY, NONCE = 32, 12
"""Bytes of a key, and of what is drawn anew for each sealing."""


def fresh() -> bytes:
    """A new key."""
    return secrets.token_bytes(KEY)


def seal(key: bytes, plain: bytes, about: bytes) -> bytes:
    """Nonce, ciphertext and tag; only the same key with the same `about`, which is not in it, opens it.

    about: what the bytes are and where they belong, so that one record cannot stand in another's place.
    """
    nonce = secrets.token_bytes(NONCE)
    return nonce + bytes(_cipher(key).encrypt(nonce, plain, about))


def unseal(key: bytes, blob: bytes, about: bytes, what: str) -> bytes:
    """What was sealed; raises GalleryError, which names `what`, where a byte of it or its place was changed.

    >>> key = fresh()
    >>> unseal(key, seal(key, b"a face", b"sample 1"), b"sample 1", "a sample")
    b'a face'
    """
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(_cipher(key).decrypt(blob[:NONCE], blob[NONCE:], about))
    except (InvalidTag, ValueError, TypeError):
        raise GalleryError(
            f"{what} was changed, or stands where it does not belong, or another key sealed it"
        ) from None


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose."""
    _require()
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return bytes(HKDF(SHA256(), KEY, None, f"sightline {purpose}".encode()).derive(key))


def stretched(words: str, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    """A key of words that may be guessed, by scrypt (RFC 7914)."""
    _require()
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return bytes(Scrypt(salt, KEY, n, r, p).derive(words.encode()))


def keyed(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 of some byte strings, each with its length before it, so that none runs into the next."""
    return hmac.new(key, b"".join(len(part).to_bytes(8, "big") + part for part in parts), hashlib.sha256).digest()


def plain_name(text: str) -> bytes:
    """A name as it is compared: composed (NFKC), without regard to case and outer blanks.

    >>> plain_name(" Zoë ") == plain_name("ZOE\\u0308")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip().encode()


def _cipher(key: bytes) -> Any:
    _require()
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("galleries need the package cryptography: pip install 'sightline[faces]'") from None
