"""A blind comparison says what an open one says, and neither side is shown what the other has."""

from __future__ import annotations

import random
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")
pytest.importorskip("tenseal")

from gallery_people import TODAY, WIDTH, consent, faces, fresh

from sightline.core.errors import DataError, MissingExtraError
from sightline.gallery import blind
from sightline.gallery.blind import Asker, answered


def test_the_cosine_is_that_of_an_open_comparison(tmp_path: Path) -> None:
    asker = Asker()
    with fresh(tmp_path, "Ada") as gallery:
        gallery.enrol("Grace", faces(1, 7), consent=consent())
        gallery.revoke()
        for seed in (7, 8):
            asked = 3 * faces(2, seed)[1]
            wanted = gallery.matcher().verify(asked, 2)
            assert asker.score(answered(gallery, "grace ", asker.question(asked))) == pytest.approx(wanted, abs=1e-4)
        middle = faces(2, 0).sum(axis=0) / np.linalg.norm(faces(2, 0).sum(axis=0))
        found = asker.score(answered(gallery, "Ada", asker.question(faces(1, 7)[0])))
        assert found == pytest.approx(middle @ faces(1, 7)[0], abs=1e-4)
        *_, last = gallery.log.entries(gallery._base)
        assert (last.event, last.details["blind"]) == ("verify", True)
        assert last.details["people"] == [next(gallery.people()).pseudonym]
        gallery.check()


def test_who_asks_sees_nothing_but_the_sum(tmp_path: Path) -> None:
    """The products stand decrypted before whoever asked; without what hides them they would be the template."""
    asker = Asker()
    with fresh(tmp_path, "Ada") as gallery:
        question = asker.question(np.ones(WIDTH))
        seen = [np.array(blind._parsed(asker._context, answered(gallery, "Ada", question)).decrypt()) for _ in range(2)]
        plain = gallery.plain_templates(1).mean(axis=0)
    for row in seen:
        assert np.abs(row).mean() == pytest.approx(blind._HIDING / 2, rel=0.1)
        assert np.abs(np.corrcoef(row[:WIDTH], plain)[0, 1]) < 0.4
    assert np.abs(np.corrcoef(*seen)[0, 1]) < 0.1 and seen[0].sum() == pytest.approx(seen[1].sum(), abs=1e-4)


def test_another_asker_cannot_read_question_or_answer(tmp_path: Path) -> None:
    one, other = Asker(), Asker()
    asked = faces(1, 0)[0]
    question = one.question(asked)
    with fresh(tmp_path, "Ada") as gallery:
        answer = answered(gallery, "Ada", question)
    for blob in (question, answer):
        assert abs(other.score(blob)) > 1000
    assert asked.tobytes()[:16] not in question and asked.astype(float).tobytes()[:16] not in question
    assert one.question(asked) != question


@pytest.mark.parametrize(
    "template", [np.zeros(8), np.ones((1, 8)), np.ones(0), np.full(8, np.nan), np.ones(5000), "text"]
)
def test_what_is_no_template(template: object) -> None:
    with pytest.raises((DataError, ValueError)):
        Asker().question(template)


def test_what_is_no_question_or_must_not_be_answered(tmp_path: Path) -> None:
    asker, rng = Asker(), random.Random(0)
    question = asker.question(faces(1, 0)[0])
    with fresh(tmp_path, "Ada") as gallery:
        tenseal = blind._tenseal()
        short = tenseal.ckks_vector(asker._context, [1.0] * 5).serialize()
        small = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[40, 20, 40])
        small.global_scale = 2.0**20
        other = tenseal.ckks_vector(small, [1.0] * 5).serialize()
        for blob in (b"", b"x" * 100, question[:-5], question[:1000], short, other):
            with pytest.raises(DataError, match="no question of a blind comparison"):
                answered(gallery, "Ada", blob)
            with pytest.raises(DataError, match="no answer of a blind comparison"):
                asker.score(blob)
        with pytest.raises(DataError, match="no question"):
            answered(gallery, "Ada", answered(gallery, "Ada", question))
        for _ in range(30):  # an answer that says nothing, or a refusal
            changed = bytearray(question)
            changed[rng.randrange(200)] ^= 1 << rng.randrange(8)
            try:
                answered(gallery, "Ada", bytes(changed))
            except DataError as error:
                assert "no question" in str(error)
        for name, day in (("Grace", TODAY), ("Ada", TODAY + timedelta(days=301)), ("Ada", TODAY - timedelta(days=3))):
            with pytest.raises(DataError, match=r"nobody called .* whose consent is in force"):
                answered(gallery, name, question, today=day)
    (tmp_path / "part").mkdir()
    with (
        fresh(tmp_path / "part", "Ada", kept=WIDTH // 2) as gallery,
        pytest.raises(DataError, match="only whole templates"),
    ):
        answered(gallery, "Ada", question)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenseal", None)
    with pytest.raises(MissingExtraError, match=r"sightline\[blind\]"):
        Asker()
