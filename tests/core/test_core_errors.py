from __future__ import annotations

import inspect
import pickle

import pytest

from sightline.core import errors

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", TREE)
def test_one_tree_whose_kinds_have_an_exit_code_and_a_meaning(kind: type[errors.SightlineError]) -> None:
    assert issubclass(kind, errors.SightlineError)
    assert kind.__doc__
    assert 0 < kind.exit_code < errors.INTERRUPTED_EXIT_CODE


def test_exit_codes_tell_kinds_apart() -> None:
    own = [kind for kind in TREE if "exit_code" in vars(kind)]
    codes = [kind.exit_code for kind in own] + [errors.PARTIAL_EXIT_CODE, errors.INTERRUPTED_EXIT_CODE]
    assert len(codes) == len(set(codes))
    assert errors.PictureError.exit_code == errors.LeakError.exit_code == errors.DataError.exit_code


def test_a_picture_error_says_which_and_why() -> None:
    error = errors.PictureError("a/b.jpg", "is cut off", refused=True)
    assert str(error) == "a/b.jpg: is cut off"
    assert (error.source, error.reason, error.refused) == ("a/b.jpg", "is cut off", True)
    assert not errors.PictureError("x", "y").refused


def test_errors_cross_process_borders() -> None:
    """Decoding may run in worker processes, which pickle what they raise."""
    again = pickle.loads(pickle.dumps(errors.PictureError("a.jpg", "is cut off", refused=True)))
    assert (again.source, again.reason, again.refused, str(again)) == ("a.jpg", "is cut off", True, "a.jpg: is cut off")
