"""keys: where the key that opens a gallery comes from: a key file, a passphrase, or the system's keyring."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sightline.core.errors import GalleryError, MissingExtraError, UsageError
from sightline.core.storage import put_once, storing
from sightline.gallery.sealing import KEY, fresh, stretched

_HEAD = "sightline gallery key 1"
_SCRYPT = {"n": 1 << 16, "r": 8, "p": 1}
"""64 MiB and about a quarter of a second for each guess (RFC 7914)."""
_MOST_N = 1 << 20
"""A header that asks for more is not believed."""
SALT = 16
"""Bytes of a salt."""


class Source(Protocol):
    """Gives the key of one gallery."""

    KIND: ClassVar[str]

    def key(self, store: str, told: dict[str, Any]) -> bytes:
        """32 bytes. store: the gallery's number; told: what `begin` returned, as the gallery keeps it in clear."""
        ...

    def begin(self, store: str) -> dict[str, Any]:
        """Get ready to give a key to a new gallery; what has to be known of it again."""
        ...


@dataclass(frozen=True)
class KeyFile:
    """A file that holds the key, best on another disk than the gallery. Whoever can read it can read the gallery."""

    path: Path
    KIND: ClassVar[str] = "key file"

    def begin(self, store: str) -> dict[str, Any]:
        """A new file, for its owner's eyes only, where there is none yet; one that is there is used."""
        if not self.path.exists():
            half = self.path.with_name(f".{self.path.name}.{fresh().hex()[:8]}")
            with storing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(f"{_HEAD}\n{fresh().hex()}\n")
                    file.flush()
                    os.fsync(file.fileno())
            put_once(half, self.path)  # else another process was first, and its key is used
            half.unlink(missing_ok=True)
        self.key(store, {})
        return {}

    def key(self, store: str, told: dict[str, Any]) -> bytes:
        """What the file holds. Raises UsageError where it is none, or others can read it."""
        try:
            mode, text = self.path.stat().st_mode, self.path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self.path} cannot be read as a key file: {error}") from None
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(f"{self.path} can be read by others than its owner; chmod 600 it")
        head, _, rest = text.partition("\n")
        try:
            found = bytes.fromhex(rest)
        except ValueError:
            found = b""
        if head != _HEAD or len(found) != KEY:
            raise UsageError(f"{self.path} is no key file of a gallery")
        return found


@dataclass(frozen=True)
class Passphrase:
    """Words that somebody remembers, stretched by scrypt. If they are forgotten, the gallery is lost."""

    words: str = field(repr=False)
    KIND: ClassVar[str] = "passphrase"

    def begin(self, store: str) -> dict[str, Any]:
        """A salt of the gallery's own."""
        if len(self.words) < 8:
            raise UsageError("a passphrase takes at least 8 characters; several words are best")
        return {"salt": os.urandom(SALT).hex(), **_SCRYPT}

    def key(self, store: str, told: dict[str, Any]) -> bytes:
        """Derived from the words. Raises GalleryError where the gallery's header asks for what none does."""
        try:
            salt, n, r, p = bytes.fromhex(told["salt"]), int(told["n"]), int(told["r"]), int(told["p"])
        except (KeyError, TypeError, ValueError):
            raise GalleryError(f"the gallery's header does not say how the passphrase is stretched: {told}") from None
        if len(salt) != SALT or not (1 << 14 <= n <= _MOST_N and n & (n - 1) == 0 and r == 8 and 1 <= p <= 16):
            raise GalleryError(f"the gallery's header asks for a scrypt that none was written with: {json.dumps(told)}")
        return stretched(self.words, salt, n=n, r=r, p=p)


@dataclass(frozen=True)
class SystemKeyring:
    """The keyring of the operating system, where it has one; the package keyring talks to it."""

    KIND: ClassVar[str] = "keyring"
    _SERVICE: ClassVar[str] = "sightline gallery"

    def begin(self, store: str) -> dict[str, Any]:
        """A new key in the keyring, beside older ones, which may still be needed where this goes no further."""
        account = f"{store}-{os.urandom(4).hex()}"
        self._keyring().set_password(self._SERVICE, account, fresh().hex())
        return {"account": account}

    def key(self, store: str, told: dict[str, Any]) -> bytes:
        """What the keyring holds for this gallery. Raises GalleryError where that is nothing."""
        found = self._keyring().get_password(self._SERVICE, str(told.get("account")))
        if found is None:
            raise GalleryError("this computer's keyring has no key for this gallery; it was made elsewhere")
        return bytes.fromhex(found)

    @staticmethod
    def _keyring() -> Any:
        try:
            import keyring
        except ModuleNotFoundError:
            raise MissingExtraError("the system's keyring needs the package keyring: pip install keyring") from None
        return keyring
