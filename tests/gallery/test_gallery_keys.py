"""Where a gallery's key comes from."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("cryptography")

from sightline.core.errors import GalleryError, MissingExtraError, UsageError
from sightline.gallery.keys import KeyFile, Passphrase, SystemKeyring
from sightline.gallery.sealing import derived, fresh, keyed, seal, unseal


def test_a_key_file_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "deep" / "key")
    source.begin("")
    key = source.key("", {})
    source.begin("")
    assert source.key("", {}) == key and len(key) == 32
    assert KeyFile(tmp_path / "other").begin("") == {} and KeyFile(tmp_path / "other").key("", {}) != key


@pytest.mark.skipif(os.name != "posix", reason="permissions differ")
def test_a_key_file_that_others_can_read(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "key")
    source.begin("")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        source.key("", {})


@pytest.mark.parametrize("content", [b"", b"something else\n00", b"sightline gallery key 1\nzz", b"\xff\xfe"])
def test_a_file_that_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(UsageError, match="key"):
        KeyFile(tmp_path / "key").key("", {})
    with pytest.raises(UsageError, match="cannot be read"):
        KeyFile(tmp_path / "nowhere").key("", {})


def test_a_passphrase_is_stretched_with_a_salt_of_its_own() -> None:
    source = Passphrase("correct horse")
    told = source.begin("")
    assert source.key("", told) == source.key("", told) != source.key("", source.begin(""))
    assert "horse" not in repr(source)
    with pytest.raises(UsageError, match="at least 8"):
        Passphrase("short").begin("")
    with pytest.raises(GalleryError, match="does not say how"):
        source.key("", {"salt": "xyz"})


def test_the_systems_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[tuple[str, str], str] = {}
    ring = SimpleNamespace(
        set_password=lambda service, name, words: held.update({(service, name): words}),
        get_password=lambda service, name: held.get((service, name)),
    )
    monkeypatch.setitem(sys.modules, "keyring", ring)
    first, second = SystemKeyring().begin("ab"), SystemKeyring().begin("ab")
    assert SystemKeyring().key("ab", first) != SystemKeyring().key("ab", second)
    with pytest.raises(GalleryError, match="made elsewhere"):
        SystemKeyring().key("ab", {})
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match="pip install keyring"):
        SystemKeyring().begin("ab")


def test_what_is_sealed_opens_with_the_same_key_in_the_same_place() -> None:
    key = fresh()
    blob = seal(key, b"a face", b"here")
    assert unseal(key, blob, b"here", "it") == b"a face" and seal(key, b"a face", b"here") != blob
    for wrong in ((fresh(), blob, b"here"), (key, blob, b"there"), (key, blob[:-1], b"here"), (key, b"", b"here")):
        with pytest.raises(GalleryError, match="it was changed"):
            unseal(*wrong, "it")
    assert derived(key, "one") != derived(key, "two") and derived(key, "one") == derived(key, "one")
    assert keyed(key, b"ab", b"c") != keyed(key, b"a", b"bc")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for act in (lambda: seal(fresh(), b"", b""), lambda: derived(fresh(), "x")):
        with pytest.raises(MissingExtraError, match=r"sightline\[faces\]"):
            act()
