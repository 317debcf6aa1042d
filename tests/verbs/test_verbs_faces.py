"""enrol, recognise, calibrate, handing and join: people by pictures of theirs, end to end, on made faces."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("cryptography")

from mutants import card_with, parts_of, unpacked
from PIL import Image

import made_faces
import sightline
from gallery.gallery_people import TODAY, consent
from made_faces import WIDTH, face, people, photo
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.events import Event, Note, drain
from sightline.core.ledger import entries
from sightline.core.results import Faces
from sightline.data.pictures import read_picture
from sightline.gallery.keys import KeyFile
from sightline.gallery.opening import create, open_gallery
from sightline.gallery.store import Gallery
from sightline.tasks.faces import UNKNOWN
from sightline.verbs.calibrate import Wanted, calibrate, searched
from sightline.verbs.enrol import Terms, enrol, model_of, people_in
from sightline.verbs.handing import crop, hand_over
from sightline.verbs.import_onnx import Wish, import_onnx
from sightline.verbs.join import join
from sightline.verbs.opened import Opened
from sightline.verbs.pairs import compare, read_pairs
from sightline.verbs.recognise import identify, threshold_of, verify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_faces.model(tmp_path_factory.mktemp("made")).parent


@pytest.fixture(scope="module")
def opened(made: Path) -> Opened:
    return sightline.load(made / "who").opened


@pytest.fixture
def gallery(opened: Opened, tmp_path: Path) -> Gallery:
    where = {"model": model_of(opened), "width": WIDTH, "anchor": tmp_path / "anchor"}
    return create(tmp_path / "staff.gallery", KeyFile(tmp_path / "key"), **where)


def terms(**changes: Any) -> Terms:
    return Terms(**{"consent": consent(), **changes})


def enrolled(opened: Opened, gallery: Gallery, root: Path, **changes: Any) -> Gallery:
    drain(enrol(opened, gallery, people_in(people(root / "people")), terms(**changes)))
    return gallery


# Joining


def test_a_joined_model_holds_both_cards(made: Path) -> None:
    card = sightline.load(made / "who").card
    assert card.task == "faces" and set(card.graphs) == {"main", "detector"} and set(card.inner) == {"detector"}
    assert card.inside["detector"].task == "detect" and card.inside["detector"].operating["suppress"] == 0.3
    assert set(card.parts) == {"detector", "embedder"} and any(name.startswith("detector") for name in card.licences)
    assert card.at_least_hw is None


@pytest.mark.parametrize(
    ("detector", "embedder", "said"),
    [
        ("describer", "describer", "detector .* of the task faces"),
        ("finder", "finder", "embedder .* of the task detect"),
        ("finder", "who", "joined already"),
        ("nothing.onnx", "describer", "neither a file nor a name"),
    ],
)
def test_what_cannot_be_joined(made: Path, tmp_path: Path, detector: str, embedder: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        drain(join(str(made / detector), str(made / embedder), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_by_joining(made: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        drain(join(str(made / "finder"), str(made / "describer"), made / "who"))


def test_an_embedder_that_says_the_same_of_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dull.onnx").write_bytes(made_faces.embedder(scale=0.0))
    (tmp_path / "dull.yaml").write_text("vector: {}\n")
    with pytest.raises(UsageError, match="says the same of different pictures"):
        drain(import_onnx(tmp_path / "dull.onnx", Wish(layout=str(tmp_path / "dull.yaml")), tmp_path / "dull"))


def test_the_ledger_knows_how_to_read_face_models() -> None:
    known = entries()
    assert {known[name].layout for name in ("yunet", "yunet-n")} == {"yunet"}
    assert (known["sface"].layout, known["mobilefacenet"].layout) == ("sface", "mobilefacenet")
    assert known["yunet"].classes == ("face",) and known["sface"].trained_on


def test_the_ledger_s_files_are_imported_without_a_word(data_root: Path, tmp_path: Path) -> None:
    for name, task in (("version-RFB-320", "detect"), ("MobileFaceNet", "faces")):
        path = drain(import_onnx(data_root / "weights" / f"{name}.onnx", Wish(), tmp_path / name))
        assert sightline.load(path).card.task == task


# Enrolling


def test_people_are_enrolled_by_folder(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    events: list[Event] = []
    found = drain(enrol(opened, gallery, people_in(people(tmp_path / "p")), terms(crops=True)), events.append)
    assert found.samples == dict.fromkeys(("ann", "ben", "cleo", "dora"), 3) and not found.refused
    assert [person.samples for person in gallery.people()] == [3] * 4
    assert len(gallery.crops(1)) == 3 and gallery.crops(1)[0][:2] == b"\xff\xd8"
    assert gallery.settings["model"] == str(opened.bundle.path.resolve())
    assert gallery.check() > 0


def test_the_same_again_changes_nothing_and_more_adds(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    again = drain(enrol(opened, gallery, people_in(tmp_path / "people"), terms()))
    assert again.there == ["ann", "ben", "cleo", "dora"] and not again.samples
    drain(enrol(opened, gallery, {"ann": [photo(face("ann", 9))]}, terms(more=True)))
    assert gallery.find("ann") is not None and gallery.find("ann").samples == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (photo(), "no face was found"),
        (photo(face("ann"), face("ben")), "2 faces; cut the picture"),
        (photo(face("ann", noise=0) // 255 * 255), "show the whole face|not sharp|change the light|look into"),
        (b"no picture", "unreadable|not a picture|unknown|identif"),
    ],
)
def test_pictures_that_will_not_do_are_refused(opened: Opened, gallery: Gallery, picture: Any, said: str) -> None:
    found = drain(enrol(opened, gallery, {"ann": [picture]}, terms()))
    assert len(found.refused) == 1 and re.search(said, found.refused[0][1])
    assert gallery.find("ann") is None


def test_a_poor_face_is_taken_where_that_is_wished(opened: Opened, gallery: Gallery) -> None:
    flat = photo(np.full((64, 64, 3), (255, 40, 40), np.uint8))
    assert drain(enrol(opened, gallery, {"ann": [flat]}, terms())).refused
    assert drain(enrol(opened, gallery, {"ann": [flat]}, terms(poor=True))).samples == {"ann": 1}


def test_a_picture_of_somebody_else_is_doubted(opened: Opened, gallery: Gallery) -> None:
    events: list[Event] = []
    pictures = [photo(face("ann", seed)) for seed in range(3)] + [photo(face("ben", 4))]
    drain(enrol(opened, gallery, {"ann": pictures}, terms()), events.append)
    assert ["is it somebody else" in event.text for event in events if isinstance(event, Note)] == [True]


def test_nobody_is_enrolled_without_consent(opened: Opened, gallery: Gallery) -> None:
    ended = consent(until=TODAY - timedelta(days=1))
    with pytest.raises(DataError, match="consent"):
        drain(enrol(opened, gallery, {"ann": [photo(face("ann"))]}, terms(consent=ended)))


def test_templates_of_another_model_are_not_mixed(opened: Opened, tmp_path: Path) -> None:
    other = create(tmp_path / "g", KeyFile(tmp_path / "key"), model="00" * 32, width=WIDTH)
    with pytest.raises(UsageError, match="another model"):
        drain(enrol(opened, other, {"ann": [photo(face("ann"))]}, terms()))
    with pytest.raises(UsageError, match="another model"):
        list(identify(opened, other, [photo()], threshold=0.5))


def test_a_folder_without_people(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folders of people"):
        people_in(tmp_path)


# Recognising


def names(answers: Any) -> list[tuple[str, ...]]:
    return [tuple(sorted(answer.result.names)) for answer in answers]


def test_faces_are_named_or_unknown(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    pictures = [photo(face("ben", 77), face("ann", 78)), photo(face("eve", 79)), photo()]
    found = list(identify(opened, gallery, pictures, threshold=0.8))
    assert names(found) == [("ann", "ben"), (UNKNOWN,), ()]
    assert isinstance(found[1].result, Faces) and found[1].result.line() == "1 unknown"
    assert found[0].to_dict()["boxes"][0]["likeness"] > 0.9
    last = list(gallery.entries())[-1]
    assert last.event == "identify" and len(last.details["people"]) == 2 and last.details["faces"] == 3


def test_whose_consent_ended_is_unknown(opened: Opened, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.gallery import search

    drain(enrol(opened, gallery, {"ann": [photo(face("ann"))]}, terms()))
    assert names(identify(opened, gallery, [photo(face("ann", 5))], threshold=0.8)) == [("ann",)]
    monkeypatch.setattr(search, "utc_day", lambda: TODAY + timedelta(days=1000))
    assert names(identify(opened, gallery, [photo(face("ann", 5))], threshold=0.8)) == [(UNKNOWN,)]


def test_nobody_is_named_by_a_threshold_that_nobody_chose(opened: Opened, gallery: Gallery) -> None:
    with pytest.raises(UsageError, match="nobody has chosen"):
        list(identify(opened, gallery, [photo()]))
    with pytest.raises(UsageError, match="nobody has chosen"):
        verify(opened, gallery, "ann", photo())


def test_one_person_is_verified(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    own = verify(opened, gallery, "Ann", photo(face("ann", 50)), threshold=0.8)
    other = verify(opened, gallery, "ann", photo(face("ben", 51)), threshold=0.8)
    assert own.same and not other.same and "is ann" in own.line() and "not shown" in other.line()
    assert [entry.details["same"] for entry in gallery.entries() if entry.event == "verify"] == [True, False]
    for name, picture, said in (
        ("nobody", photo(face("ann")), "nobody called"),
        ("ann", photo(), "no face"),
        ("ann", photo(face("ann"), face("ben")), "2 faces"),
    ):
        with pytest.raises(DataError, match=said):
            verify(opened, gallery, name, picture, threshold=0.8)


# Calibrating


def test_thresholds_are_chosen_and_used(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    found = drain(calibrate(gallery, Wanted(fmr=0.1, fpir=0.2), out=tmp_path / "report"))
    assert (found.people, found.samples) == (4, 12) and found.measures["auroc"].value == 1
    assert gallery.settings["operating"]["verify"] == found.verify.threshold
    assert 0.55 < found.identify.threshold < 0.99
    assert names(identify(opened, gallery, [photo(face("ann", 5), face("eve", 6))])) == [("ann", UNKNOWN)]
    told = json.loads((tmp_path / "report" / "calibration.json").read_text())
    assert told["subgroups"] == "unmeasured" and told["verify"]["supported"] is found.verify.supported
    assert not any(name in json.dumps(told) for name in ("ann", "cleo"))


def test_a_collection_is_asked_alone_and_has_thresholds_of_its_own(
    opened: Opened, gallery: Gallery, tmp_path: Path
) -> None:
    for collection, some in (("staff", ("ann", "ben")), ("guests", ("cleo", "dora"))):
        people = {name: [photo(face(name, seed)) for seed in (1, 2)] for name in some}
        drain(enrol(opened, gallery, people, dataclasses.replace(terms(), collection=collection)))
    both = [photo(face("ann", 5), face("cleo", 6))]
    assert names(identify(opened, gallery, both, threshold=0.8)) == [("ann", "cleo")]
    assert names(identify(opened, gallery, both, threshold=0.8, collection="guests")) == [("cleo", UNKNOWN)]
    with pytest.raises(DataError, match=r"nobody .* in a collection 'gusts'; known are guests, staff"):
        list(identify(opened, gallery, both, threshold=0.8, collection="gusts"))
    with pytest.raises(UsageError, match="nobody has chosen"):
        list(identify(opened, gallery, both, collection="guests"))
    whole = drain(calibrate(gallery, Wanted(fmr=0.1, fpir=0.2)))
    own = drain(calibrate(gallery, Wanted(fmr=0.1, fpir=0.2), collection="guests"))
    assert (own.people, own.samples) == (2, 4) and own.identify.threshold != whole.identify.threshold
    assert threshold_of(gallery, "identify") == threshold_of(gallery, "identify", None, "staff")
    assert threshold_of(gallery, "identify", None, "guests") == own.identify.threshold
    found = verify(opened, gallery, "cleo", photo(face("cleo", 6)))
    assert found.threshold == own.verify.threshold != whole.verify.threshold


def test_few_people_give_a_guess_that_is_called_one(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    found = drain(calibrate(gallery, Wanted()))
    assert not found.verify.supported and "a guess, not a measurement" in found.verify.sentence
    assert found.identify.threshold >= found.verify.threshold
    assert found.alike[0][:2] == ("ann", "dora")


def test_others_help_to_choose_and_are_not_enrolled(opened: Opened, gallery: Gallery) -> None:
    drain(enrol(opened, gallery, {"ann": [photo(face("ann", seed)) for seed in (1, 2)]}, terms()))
    with pytest.raises(DataError, match="1 people are in"):
        drain(calibrate(gallery, Wanted()))
    strangers = np.random.default_rng(0).normal(0, 1, (40, WIDTH)).astype(np.float32)
    found = drain(calibrate(gallery, Wanted(), more={f"v{n}": strangers[n : n + 1] for n in range(40)}))
    assert found.people == 41 and sum(1 for _ in gallery.people()) == 1


def test_rates_are_told_by_group(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    groups = {"ann": "old", "ben": "old", "cleo": "young", "dora": "young"}
    found = drain(calibrate(gallery, Wanted(), subgroups=groups))
    assert found.groups is not None and found.groups.names == ["old", "young"] and found.groups.people == [2, 2]


def test_each_sample_is_searched_for_by_all_others() -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (7, 5)).astype(np.float32)
    subjects = np.array(["b", "a", "b", "c", "a", "b", "d"])
    found = searched(vectors, subjects)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(subjects, kind="stable")
    for place, row in enumerate(order):
        others = [other for other in range(7) if other != row and subjects[other] == subjects[row]]
        mate = max((float(rows[row] @ rows[other]) for other in others), default=np.nan)
        assert found.mate[place] == pytest.approx(mate, abs=1e-6, nan_ok=True)
        for number, name in enumerate("abcd"):
            best = max(float(rows[row] @ rows[other]) for other in range(7) if subjects[other] == name)
            wanted = -np.inf if name == subjects[row] else best
            assert found.others[place, number] == pytest.approx(wanted, abs=1e-6)


def test_a_list_of_pairs_chooses_the_threshold(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    lines = [f"people/ann/{a}.png,people/ann/{b}.png,1" for a, b in ((0, 1), (1, 2))]
    lines += [f"people/ann/{a}.png,people/ben/{b}.png,no" for a in range(3) for b in range(3)]
    listed = tmp_path / "pairs.csv"
    listed.write_text("\n".join(["first,second,same", *lines]))
    pairs = drain(compare(opened, gallery, read_pairs(listed)))
    assert pairs.mated.sum() == 2 and len(pairs.scores) == 11 and pairs.first[0] == pairs.second[1]
    found = drain(calibrate(gallery, Wanted(), pairs=pairs))
    assert found.verify.threshold > pairs.scores[~pairs.mated].max() and "9 impostor pairs" in found.verify.sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2", "no CSV file with the columns"),
        ("first,second,same", "holds no pairs"),
        ("first,second,same\na,b,perhaps", "'perhaps'; it must be 1 or 0"),
        ("first,second,same\na,b,1\nb,c,1\na,c,0", "different people, and by other pairs the same"),
    ],
)
def test_a_list_of_pairs_that_is_none(opened: Opened, gallery: Gallery, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises((UsageError, DataError), match=said):
        drain(compare(opened, gallery, read_pairs(tmp_path / "pairs.csv")))


def test_the_model_has_the_verbs(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    model = sightline.load(opened.bundle.path)
    assert model.enroll(gallery, people(tmp_path / "p"), terms()).samples["ann"] == 3
    (tmp_path / "door.png").write_bytes((tmp_path / "p" / "ben" / "0.png").read_bytes())
    assert names(model.identify(gallery, tmp_path / "door.png", threshold=0.8)) == [("ben",)]
    assert model.verify(gallery, "ben", tmp_path / "door.png", threshold=0.8).same


def test_two_pictures_do_not_make_a_threshold_that_names_everybody(opened: Opened, gallery: Gallery) -> None:
    drain(enrol(opened, gallery, {name: [photo(face(name))] for name in ("ann", "ben")}, terms()))
    found = drain(calibrate(gallery, Wanted()))
    assert found.verify.threshold > found.alike[0][2] + 0.3 and found.identify.threshold < 1
    strangers = [photo(face("cleo", seed)) for seed in (7, 8, 9)]
    assert names(identify(opened, gallery, strangers)) == [(UNKNOWN,)] * 3


def test_what_cannot_be_chosen_leaves_what_was(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    drain(calibrate(gallery, Wanted()))
    before = gallery.settings["operating"]
    (tmp_path / "pairs.csv").write_text("first,second,same\npeople/ann/0.png,people/ann/1.png,1\n")
    mated = drain(compare(opened, gallery, read_pairs(tmp_path / "pairs.csv")))
    with pytest.raises(DataError, match="stay as they were"):
        drain(calibrate(gallery, Wanted(), pairs=mated))
    drain(enrol(opened, gallery, {"anna": [photo(face("ann", seed)) for seed in (0, 1)]}, terms()))
    with pytest.raises(DataError, match="several names"):
        drain(calibrate(gallery, Wanted(), more={"annie": gallery.plain_templates(1)[:1]}))
    assert gallery.settings["operating"] == before


def test_names_that_a_gallery_takes_for_one_are_refused(opened: Opened, gallery: Gallery) -> None:
    with pytest.raises(DataError, match="one name in a gallery"):
        drain(enrol(opened, gallery, {"Amy": [photo(face("ann"))], "amy": [photo(face("ben"))]}, terms()))
    with pytest.raises(DataError, match="nobody can be called 'Unknown'"):
        drain(enrol(opened, gallery, {"Unknown": [photo(face("ann"))]}, terms()))
    assert not list(gallery.people())


def test_the_same_picture_counts_once(opened: Opened, gallery: Gallery) -> None:
    pictures = {"ann": [photo(face("ann", seed)) for seed in (1, 2, 1)]}
    found = drain(enrol(opened, gallery, pictures, terms()))
    assert found.samples["ann"] == 2 and "the same picture" in found.refused[0][1]
    assert drain(enrol(opened, gallery, {"ann": pictures["ann"][:1]}, terms(more=True))).samples["ann"] == 0


def test_ended_consent_is_said_and_renewed(opened: Opened, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.verbs import enrol as module

    drain(enrol(opened, gallery, {"ann": [photo(face("ann"))]}, terms(collection="staff")))
    monkeypatch.setattr(module, "utc_day", lambda: TODAY + timedelta(days=1000))
    events: list[Event] = []
    drain(enrol(opened, gallery, {"ann": [photo(face("ann", 2))]}, terms()), events.append)
    assert any("--more with pictures renews it" in event.text for event in events if isinstance(event, Note))
    drain(enrol(opened, gallery, {"ann": [photo(face("ann", 2))]}, terms(more=True, collection="guests")))
    assert gallery.find("ann").collection == "guests"  # type: ignore[union-attr]


def test_who_is_erased_meanwhile_is_named_no_more(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path)
    pictures = [photo(face("ann", seed), face("ben", seed)) for seed in range(40)]
    answers = identify(opened, gallery, pictures, threshold=0.8)
    assert sorted(next(answers).result.names) == ["ann", "ben"]  # type: ignore[union-attr]
    pseudonym = gallery.find("ann").pseudonym  # type: ignore[union-attr]
    with open_gallery(gallery.path, KeyFile(tmp_path / "key"), anchor=tmp_path / "anchor") as other:
        other.erase("ann")
    last = gallery.last()
    assert names(answers)[-1] == ("ben", UNKNOWN)
    later = [entry for entry in gallery.entries() if entry.number > last]
    assert later and not any(pseudonym in entry.details["people"] for entry in later)


# Handing over


def test_what_is_known_of_somebody_is_handed_over(opened: Opened, gallery: Gallery, tmp_path: Path) -> None:
    enrolled(opened, gallery, tmp_path, crops=True)
    list(identify(opened, gallery, [photo(face("ann", 5))], threshold=0.8))
    assert hand_over(gallery, "ann", tmp_path / "ann") == 4
    told = json.loads((tmp_path / "ann" / "person.json").read_text())
    assert told["name"] == "ann" and len(told["templates"]) == 3 and told["consent"]["purpose"]
    assert [entry["event"] for entry in told["log"]] == ["enrol", "identify", "export"]
    assert read_picture(tmp_path / "ann" / "face-1.jpg").size_hw == (112, 112)
    for name, out, kind in (("nobody", "new", DataError), ("ann", "ann", UsageError)):
        with pytest.raises(kind):
            hand_over(gallery, name, tmp_path / out)


def test_aligned_faces_are_cut_out(opened: Opened, made: Path, tmp_path: Path) -> None:
    source = people(tmp_path / "people", count=2, names=("ann", "ben"))
    Image.fromarray(photo()).save(source / "ann" / "nobody.png")
    assert drain(crop(opened, source, tmp_path / "cut")) == (4, 1)
    cut = sorted(path.relative_to(tmp_path / "cut").as_posix() for path in (tmp_path / "cut").rglob("*.jpg"))
    assert cut == ["ann/0.jpg", "ann/1.jpg", "ben/0.jpg", "ben/1.jpg"]
    with pytest.raises(UsageError, match="finds no faces"):
        drain(crop(sightline.load(made / "describer").opened, source, tmp_path / "c"))
    with pytest.raises(UsageError, match="lies within"):
        drain(crop(opened, source, source / "cut"))


def test_a_card_whose_inner_card_is_none_is_refused(made: Path, tmp_path: Path) -> None:
    whole = parts_of(made / "who")
    for spoilt in ({"task": "detect"}, {}, "x", {"schema": 1, "task": "detect"}):
        path = unpacked(card_with(whole, ("inner", "detector"), spoilt), tmp_path / str(spoilt)[:9])
        with pytest.raises(BundleError):
            sightline.load(path)


def test_aligned_faces_of_one_stem_are_all_kept(opened: Opened, tmp_path: Path) -> None:
    names = ("1.jpg", "1.png", "1.jpg.png", "s01.happy", "s01.sad", "2.png", "B.png", "b.jpg")
    (tmp_path / "ann").mkdir()
    for place, name in enumerate(names):
        Image.fromarray(photo(face("ann", place))).save(tmp_path / "ann" / name, "PNG")
    assert drain(crop(opened, tmp_path / "ann", tmp_path / "cut")) == (8, 0)
    wanted = ["1.jpg.jpg", "1.jpg.png.jpg", "1.png.jpg", "2.jpg", "B.png.jpg", "b.jpg.jpg"]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [*wanted, "s01.happy.jpg", "s01.sad.jpg"]


def test_a_folder_of_people_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("nowhere", "file"):
        with pytest.raises(UsageError, match=f"{name} is no folder"):
            people_in(tmp_path / name)


def test_pairs_from_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("first;second;same\r\na,1.png; b.png ;Yes\r\n;;\r\n", encoding="utf-8-sig")
    assert read_pairs(path) == [(str(tmp_path / "a,1.png"), str(tmp_path / "b.png"), True)]
