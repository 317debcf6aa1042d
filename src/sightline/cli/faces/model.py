"""model: make one model of a detector and an embedder, which finds faces and describes them."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline weights get yunet && sightline weights get sface --accept
  sightline faces model --detector yunet --embedder sface --out who
  sightline faces model --detector yunet_n_640_640.onnx --embedder MobileFaceNet.onnx --out who

Each is a model, or an ONNX file or name that `sightline weights list` knows; others are made models first by
`sightline import-onnx`. An embedder of your own: `sightline train faces`."""


@click.command(epilog=EXAMPLE)
@click.option("--detector", required=True, help="finds faces, best with five landmarks: yunet, a file or a model")
@click.option("--embedder", required=True, help="describes an aligned face: sface, mobilefacenet, a file or a model")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="model to write: a folder, or one .zip")
def command(detector: str, embedder: str, out: Path) -> None:
    """Join a detector and an embedder of faces."""
    from sightline.cli._display import watch
    from sightline.verbs.join import join

    path = watch(join(detector, embedder, out))
    click.echo(f"model written to {path}; enrol people: sightline faces enroll GALLERY PEOPLE/ --model {path}")
