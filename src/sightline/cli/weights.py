"""weights: list, fetch, add and pack pretrained weights, with their licences."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline weights list
  sightline weights get mobilenet-v2-int8
  sightline weights add encoder.onnx --name shop-encoder --licence Apache-2.0 --trained-on imagenet
  sightline weights pack mobilenet-v2-int8 --out weights.zip

Nothing is fetched but by `weights get`. Every file is checked by its SHA-256 against the ledger."""

accepting = click.option(
    "--accept", is_flag=True, help="take weights whose licence restricts their use, or is not known"
)


@click.group(epilog=EXAMPLE)
def command() -> None:
    """Pretrained weights: what they are, where they lie, and what their licences allow."""


@command.command("list")
def listed() -> None:
    """List what the ledger knows."""
    from sightline.cli._display import table
    from sightline.core.ledger import entries
    from sightline.verbs.weights import table_row

    rows = [table_row(entry) for entry in entries().values()]
    table(rows, ["name", "MB", "licence of the weights", "trained on", ""])


@command.command()
@click.argument("name")
@click.option("--from", "source", default="", help="another URL, or a file brought along")
@accepting
def get(name: str, source: str, accept: bool) -> None:
    """Fetch weights by NAME; an interrupted download goes on."""
    from sightline.cli._display import watch
    from sightline.verbs.weights import get as fetch

    click.echo(watch(fetch(name, accept=accept, source=source)))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default="", help="how to call them [the file's name]")
@click.option("--licence", default="unknown", show_default=True, help="licence of the weights")
@click.option("--code-licence", default="unknown", show_default=True, help="licence of the code they come with")
@click.option("--trained-on", default="", help="data sets that went in, as imagenet,coco")
@click.option("--source", default="", help="where they come from")
@click.option("--about", default="", help="what they are, in a line")
@accepting
def add(
    file: Path, name: str, licence: str, code_licence: str, trained_on: str, source: str, about: str, accept: bool
) -> None:
    """Bring in weights from FILE and write down what is known of them."""
    from sightline.core.ledger import Entry, place
    from sightline.verbs.weights import add as bring_in

    sets = tuple(part.strip() for part in trained_on.split(",") if part.strip())
    given = Entry(
        name=name or file.stem,
        file=file.name,
        sha256="",
        size=0,
        source=source,
        about=about,
        code_licence=code_licence,
        weight_licence=licence,
        trained_on=sets,
    )
    entry = bring_in(file, given, accept=accept)
    click.echo(f"{entry.name}: {entry.licence()}, in {place(entry)}")


@command.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="zip to write")
def pack(names: tuple[str, ...], out: Path) -> None:
    """Write weights and their ledger entries into one zip, for a machine without a network."""
    from sightline.verbs.weights import pack as packed

    click.echo(f"written to {packed(names, out)}")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@accepting
def unpack(file: Path, accept: bool) -> None:
    """Bring in what `weights pack` wrote."""
    from sightline.verbs.weights import unpack as unpacked

    for entry in unpacked(file, accept=accept):
        click.echo(f"{entry.name}: {entry.licence()}")


@command.command()
@click.argument("names", nargs=-1)
def licences(names: tuple[str, ...]) -> None:
    """Print the licences of the weights named, or of all."""
    from sightline.core.ledger import entries, named

    for entry in [named(name) for name in names] or entries().values():
        click.echo(f"{entry.name}\n  weights: {entry.weight_licence}\n  code: {entry.code_licence}")
        click.echo(f"  trained on: {', '.join(entry.trained_on) or 'not written down'}")
        if entry.terms:
            click.echo(f"  terms of that data: {entry.terms}")
        click.echo(f"  from: {entry.source or 'not written down'}")
