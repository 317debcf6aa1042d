"""The weights ledger: pretrained weights by name, with their sums and licences; nothing is fetched unless asked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sightline.core.cache import cache_folder
from sightline.core.errors import StorageError, UsageError
from sightline.core.storage import write_bytes, write_json

UNKNOWN = "unknown"
_OWN = "ledger.json"
_SEVERAL = ("trained_on", "classes")
_BUILT_IN = Path(__file__).with_name("ledger.json")
_PERMISSIVE = re.compile(
    r"(the )?(apache|mit|bsd|isc|zlib|unlicense|cc0|cc by( sa)?|public domain)( ?\d| clause| version| licen[cs]e)*"
)
"""Licences that allow any use, in lower case without punctuation."""
_GITHUB = "https://raw.githubusercontent.com/{0}/{1}/HEAD/{2}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of weights and what must be known of it."""

    name: str
    file: str
    """The file's own name."""
    sha256: str
    size: int
    """Bytes."""
    source: str = ""
    """Where it can be fetched: a URL, or `github:owner/repository:path`."""
    about: str = ""
    code_licence: str = UNKNOWN
    weight_licence: str = UNKNOWN
    trained_on: tuple[str, ...] = ()
    """Data sets that went in, by their usual names; on these it must not be judged."""
    terms: str = ""
    """The terms of the training data, where they are known."""
    layout: str = ""
    """What its outputs mean, by a name that `import-onnx --layout` takes; empty for weights that are used otherwise."""
    classes: tuple[str, ...] = ()
    """What it tells apart, for such a layout."""

    @property
    def restricted(self) -> bool:
        """Whether the weights' licence may forbid some uses: any but the permissive ones that are known here."""
        return not _PERMISSIVE.fullmatch(" ".join(re.findall(r"[^\W_]+", self.weight_licence.lower())))

    @property
    def url(self) -> str:
        """Where it can be fetched; empty where nobody knows."""
        if self.source.startswith("github:"):
            repository, _, path = self.source.removeprefix("github:").partition(":")
            return _GITHUB.format(*repository.split("/", 1), path)
        return self.source

    def licence(self) -> str:
        """For a card: the licence, what went in, and on which terms."""
        data = f"; trained on {', '.join(self.trained_on)}" if self.trained_on else ""
        return f"{self.weight_licence}{data}{f' ({self.terms})' if self.terms else ''}"


def weights_folder() -> Path:
    """Where weights lie; raises UsageError where the cache is turned off."""
    folder = cache_folder()
    if folder is None:
        raise UsageError("weights are kept in the cache folder, and SIGHTLINE_CACHE is empty; name a folder")
    return folder / "weights"


def entries() -> dict[str, Entry]:
    """Every known entry by name; of two with one name, that which comes with Sightline."""
    found: dict[str, Entry] = {}
    for entry in _known():
        found.setdefault(entry.name, entry)
    return found


def named(name: str) -> Entry:
    """The entry of this name; raises UsageError for one that is not there."""
    known = entries()
    if name not in known:
        raise UsageError(f"the ledger has no weights named {name!r}; it has {', '.join(known) or 'none'}")
    return known[name]


def by_sum(blob: bytes) -> Entry | None:
    """The entry of this very file, if it is known."""
    digest = hashlib.sha256(blob).hexdigest()
    return next((entry for entry in _known() if entry.sha256 == digest), None)


def place(entry: Entry) -> Path:
    """Where its file lies, once it is here."""
    return weights_folder() / entry.sha256[:16] / entry.file


def is_here(entry: Entry) -> bool:
    """Whether its file is here, whole."""
    return place(entry).is_file() and place(entry).stat().st_size == entry.size


def file_of(text: str) -> Path:
    """The file of a path, or of a name in the ledger; raises UsageError where there is none."""
    if Path(text).is_file():
        return Path(text)
    entry = entries().get(text)
    if entry is None:
        raise UsageError(f"{text} is neither a file nor a name of the weights ledger: sightline weights list")
    if not is_here(entry):
        raise UsageError(f"{text} is not here yet; fetch it: sightline weights get {text}")
    return place(entry)


def keep(entry: Entry, blob: bytes) -> Path:
    """Store a file under its entry; raises UsageError where it is another file than the entry says."""
    check(entry, blob)
    path = place(entry)
    write_bytes(path, blob)
    return path


def check(entry: Entry, blob: bytes) -> None:
    """Raise UsageError unless these are the bytes that the entry names."""
    digest = hashlib.sha256(blob).hexdigest()
    if digest != entry.sha256 or len(blob) != entry.size:
        raise UsageError(
            f"this is not {entry.name}: SHA-256 {digest[:16]}…, {len(blob):,} bytes; "
            f"the ledger says {entry.sha256[:16]}…, {entry.size:,} bytes"
        )


def record(added: Iterable[Entry]) -> None:
    """Write entries into this machine's own ledger; one of the same name and file is replaced.

    Raises UsageError for a name that already stands for another file.
    """
    path, taken, added = weights_folder() / _OWN, entries(), tuple(added)
    for entry in added:
        if taken.setdefault(entry.name, entry).sha256 != entry.sha256:
            raise UsageError(
                f"the ledger has another file named {entry.name}; give this one another name: "
                "sightline weights add FILE --name NAME"
            )
    own = {entry.name: entry for entry in (_read(path) if path.exists() else ())}
    own |= {entry.name: entry for entry in added}
    write_json(path, [asdict(entry) for entry in own.values()])


def entry_of(values: Mapping[str, Any]) -> Entry:
    """An entry from JSON, an empty licence as unknown; raises UsageError for what is none."""
    known = {field.name for field in fields(Entry)}
    try:
        given = {name: value for name, value in values.items() if name in known}
        entry = Entry(**{**given, **{name: tuple(given.get(name, ())) for name in _SEVERAL}})
    except (TypeError, AttributeError):
        raise UsageError(f"this is no entry of a weights ledger: {values!r:.80}") from None
    plain = all(isinstance(getattr(entry, name), str) for name in known - {"size", *_SEVERAL})
    if not plain or type(entry.size) is not int or not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        raise UsageError(f"this is no entry of a weights ledger: {values!r:.80}")
    if not re.fullmatch(r"[\w.+-]+", entry.file) or entry.file.startswith("."):
        raise UsageError(f"the ledger's {entry.name} has a file name that is none: {entry.file!r:.80}")
    return replace(entry, weight_licence=entry.weight_licence.strip() or UNKNOWN)


def _known() -> tuple[Entry, ...]:
    """What comes with Sightline, then what was added here."""
    own = weights_folder() / _OWN if cache_folder() else None
    return (*_read(_BUILT_IN), *(_read(own) if own and own.exists() else ()))


def _read(path: Path) -> tuple[Entry, ...]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return tuple(entry_of(each) for each in found)
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"the weights ledger {path} cannot be read ({error}); mend it or delete it") from None
