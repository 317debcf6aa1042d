"""Commands as somebody types them."""

from __future__ import annotations

import pytest

from sightline.cli import main as front


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as left:
        front.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(str(left.value.code)), out, err
