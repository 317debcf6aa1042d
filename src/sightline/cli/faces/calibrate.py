"""calibrate: choose from which likeness on people are named, on the gallery's own people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.cli.faces._gallery import model_for, place, with_gallery

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sightline.gallery.store import Gallery

EXAMPLE = """\b
Examples:
  sightline faces calibrate staff.gallery --key-file staff.key
  sightline faces calibrate staff.gallery --key-file staff.key --fmr 0.0001 --data volunteers/ --out report/
  sightline faces calibrate staff.gallery --key-file staff.key --subgroups groups.csv

volunteers/ has a folder for each person, who are compared and not enrolled: the more people, the lower the rates that
can be claimed. groups.csv has the columns name and group."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.option("--fmr", type=click.FloatRange(0, 0.5, min_open=True), default=0.001, show_default=True)
@click.option("--fpir", type=click.FloatRange(0, 0.5, min_open=True), default=0.01, show_default=True)
@click.option("--sure", is_flag=True, help="hold the rates with 95 % confidence, not on average")
@click.option("--data", type=click.Path(path_type=Path), help="pictures of further people to compare with")
@click.option("--pairs", type=click.Path(path_type=Path), help="CSV of first, second, same: choose verify's by these")
@click.option("--subgroups", type=click.Path(path_type=Path), help="CSV of name and group: rates for each group")
@click.option("--collection", default="", help="thresholds of this group, chosen by its people")
@click.option("--model", type=click.Path(path_type=Path), help="model of the task faces [as last time]")
@click.option("--out", type=click.Path(path_type=Path), help="folder for calibration.json and det.png, without names")
def command(
    fmr: float,
    fpir: float,
    sure: bool,
    data: Path | None,
    pairs: Path | None,
    subgroups: Path | None,
    collection: str,
    model: Path | None,
    out: Path | None,
) -> None:
    """Choose the thresholds of GALLERY and say what they can promise.

    --fmr: how often somebody may pass for one other person (verify); --fpir: how often somebody who is not enrolled
    may be named at all (identify).
    """
    from sightline.cli._display import table, watch
    from sightline.verbs.calibrate import Wanted, calibrate, table_of
    from sightline.verbs.pairs import compare, read_pairs

    wanted = Wanted(fmr=fmr, fpir=fpir, sure=sure)
    with place().open() as gallery:
        more = _more(gallery, data, model) if data else None
        groups = (
            _groups(subgroups, (*(each.name for each in gallery.members(collection)), *(more or ())))
            if subgroups
            else None
        )
        given = watch(compare(model_for(gallery, model), gallery, read_pairs(pairs))) if pairs else None
        found = watch(
            calibrate(gallery, wanted, pairs=given, more=more, subgroups=groups, collection=collection, out=out)
        )
    for name, claim in (("verify", found.verify), ("identify", found.identify)):
        click.echo(f"{name}: likeness {claim.threshold:.3f}. {claim.sentence}")
    table(table_of(found), ("", ""))
    if found.alike:
        click.echo("most alike:")
        for first, second, score in found.alike[:5]:
            click.echo(f"  {first} and {second}: {score:.3f}")


def _more(gallery: Gallery, data: Path, model: Path | None) -> dict[str, NDArray[np.float32]]:
    """Embeddings of people in a folder."""
    from sightline.cli._display import watch
    from sightline.verbs.enrol import described, people_in

    return watch(described(model_for(gallery, model), gallery, people_in(data)))


def _groups(path: Path, people: Iterable[str]) -> dict[str, str]:
    """The group of each of the people that a file names; says whom it names who is not among them."""
    from sightline.gallery.sealing import plain_name
    from sightline.verbs.listed import listed

    rows = listed(path, ("name", "group"))
    told = {plain_name(row["name"]): row for row in rows}
    if len(told) < len(rows):
        raise click.UsageError(f"{path} names somebody twice; names are compared without regard to case")
    found = {name: told.pop(plain_name(name))["group"] for name in dict.fromkeys(people) if plain_name(name) in told}
    if told:
        some = ", ".join(row["name"] for row in list(told.values())[:10])
        click.echo(f"! {path} names {len(told):,} who are not there: {some}", err=True)
    return found
