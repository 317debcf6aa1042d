"""Model: a trained recogniser in Python, one method per verb, with the words of the command line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.core.card import Card
from sightline.core.errors import PictureError, UsageError
from sightline.core.events import Event, drain
from sightline.core.results import Picture, Result
from sightline.verbs import audit as auditing
from sightline.verbs import evaluate as evaluating
from sightline.verbs import explain as explaining
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import Answer, answer_some, predict
from sightline.verbs.sources import expand

if TYPE_CHECKING:
    from sightline.gallery.store import Gallery
    from sightline.verbs.anonymise import Anonymised
    from sightline.verbs.augment_with import Augmented
    from sightline.verbs.enrol import Enrolled, Terms
    from sightline.verbs.inspect import Inspection
    from sightline.verbs.recognise import Verification
    from sightline.verbs.restore import Restored
    from sightline.verbs.veiling import Wish

Listener = Callable[[Event], None]


@dataclass(frozen=True, repr=False)
class Model:
    """An opened bundle. Make one with `sightline.load` or `sightline.train`."""

    opened: Opened

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, task={self.card.task!r}, graph={self.opened.variant!r})"

    @property
    def card(self) -> Card:
        """What the model is, was made from and how it was measured."""
        return self.opened.card

    @property
    def path(self) -> Path:
        """Where the bundle is."""
        return self.opened.bundle.path

    def after(self, restorer: Model) -> Model:
        """The same model, shown each picture as a model of the task restore makes it."""
        return Model(self.opened.after(restorer.opened))

    def predict(self, source: Any) -> Result:
        """The answer for one picture: a path, bytes, a PIL image or an array (H, W[, C]) uint8, uint16 or float32.

        Raises PictureError for a picture that cannot be read.
        """
        self.opened.offers("predict")
        (answer,) = answer_some(self.opened, [source])
        if answer.result is None:
            raise PictureError(answer.source, answer.error or "unreadable")
        return answer.result

    def predict_many(
        self,
        sources: str | Path | Iterable[Any],
        *,
        batch: int | None = None,
        threads: int | None = None,
        listen: Listener | None = None,
    ) -> Iterator[Answer]:
        """Answers for a folder, a glob or any iterable of pictures, in order; a bad file is an answer with `error`.

        batch, threads: chosen by timing the first pictures where they are left open, which `listen` is told.
        """
        self.opened.offers("predict")
        many = list(expand([str(sources)])) if isinstance(sources, (str, Path)) else sources
        return predict(self.opened, many, batch=batch, threads=threads, listen=listen)

    def evaluate(
        self,
        data: str | Path,
        *,
        layout: str | None = None,
        split: str = "",
        by: str | Path = "",
        listen: Listener | None = None,
    ) -> evaluating.Evaluation:
        """Measure on labelled pictures, with intervals; see `verbs.evaluate`."""
        return drain(evaluating.evaluate(self.opened, data, layout=layout, split=split, by=by), listen)

    def explain(self, source: Any, *, probe: str = "", target: str = "") -> explaining.Explanation:
        """The evidence for an answer, with a verdict on the map; shows itself in a notebook.

        target: a class; of boxes, the place of one in the answer, from 1, or a class for its surest box.
        """
        return explaining.explain(self.opened, source, probe=probe, target=target)

    def inspect(
        self,
        folder: str | Path,
        out: str | Path,
        *,
        move_to: str | Path | None = None,
        rules: str | Path | None = None,
        draw: bool = False,
        pace: str = "",
        stop_after: int = 0,
        idle: float = 0.0,
        part_by: str = "",
        views: int = 0,
        views_any: bool = False,
        listen: Listener | None = None,
    ) -> Inspection:
        """Sort the parts in a folder; with `move_to` watch it, record each part as it comes exactly once, and move it.

        rules: a YAML file; see `verbs.rules`. Of watching: pace as `30/m`, and parts or idle seconds that end it.
        part_by: a regular expression that names the part a picture shows; of watching with `views`, how many pictures a
        part has; and views_any; see `verbs.parts`.
        """
        from sightline.verbs.arrivals import rate_of
        from sightline.verbs.inspect import inspect, watch
        from sightline.verbs.line import Watching
        from sightline.verbs.parts import Views
        from sightline.verbs.rules import read_rules

        said, place = read_rules(Path(rules)) if rules else None, Path(folder)
        if bool(views) != bool(part_by and move_to):
            raise UsageError("views is how many pictures a part has that part_by names in a watched folder")
        how: dict[str, Any] = {"out": Path(out), "rules": said, "draw": draw}
        how["views"] = Views(part_by, views_any, views) if part_by else None
        if move_to is None:
            return drain(inspect(self.opened, place, **how), listen)
        watching = Watching(move_to=Path(move_to), rate=rate_of(pace), stop_after=stop_after, idle=idle)
        return drain(watch(self.opened, place, watching, **how), listen)

    def anonymise(
        self,
        source: str | Path,
        out: str | Path,
        *,
        wish: Wish | None = None,
        annotated: bool = False,
        layout: str | None = None,
        number: bool = False,
        overwrite: bool = False,
        threads: int | None = None,
        listen: Listener | None = None,
    ) -> Anonymised:
        """Pictures and videos with what this model finds veiled, and without metadata; see `verbs.anonymise`."""
        from sightline.verbs.anonymise import anonymise

        ways: dict[str, Any] = {"layout": layout, "number": number, "overwrite": overwrite, "threads": threads}
        done = anonymise(self.opened, str(source), Path(out), wish=wish, annotated=annotated, **ways)
        return drain(done, listen)

    def restore(
        self,
        source: str | Path,
        out: str | Path,
        *,
        format: str = "",
        quality: int = 95,
        mask: str | Path | None = None,
        boxes: Sequence[Sequence[int]] = (),
        erase: Model | None = None,
        what: Sequence[str] = (),
        margin: float = 0.1,
        overwrite: bool = False,
        threads: int | None = None,
        listen: Listener | None = None,
    ) -> Restored:
        """Pictures as this model makes them larger or cleaner, each as a file of its own kind; see `verbs.restore`.

        A model that fills holes is told where they are. mask: a picture, or a folder with one of each source's name,
        white where it is filled. boxes: left, top, width, height in pixels. erase: a detector whose boxes are filled,
        of the classes `what` or all, each enlarged on every side by the share `margin` of its own.
        """
        from sightline.verbs.marks import Marks, box_of
        from sightline.verbs.restore import restore

        ways: dict[str, Any] = {"format": format, "quality": quality, "overwrite": overwrite, "threads": threads}
        ways["marks"] = Marks(
            mask=None if mask is None else Path(mask),
            boxes=tuple(box_of(",".join(map(str, box))) for box in boxes),
            erase=erase.opened if erase else None,
            what=tuple(what),
            margin=margin,
        )
        return drain(restore(self.opened, str(source), Path(out), **ways), listen)

    def generate(self, count: int, *, classes: Sequence[str] = (), seed: int = 0, spread: float = 1.0) -> list[Picture]:
        """Pictures that this model makes, `count` in all, class by class; `verbs.generate` writes them to files."""
        from sightline.verbs.generate import pictures_of

        return pictures_of(self.opened, count, classes=classes, seed=seed, spread=spread)

    def augment_with(
        self,
        data: str | Path,
        out: str | Path,
        *,
        shares: Sequence[float] = (0.5, 1, 2),
        seeds: int = 5,
        net: str = "",
        steps: int = 400,
        force: bool = False,
        listen: Listener | None = None,
    ) -> Augmented:
        """Whether pictures of this model help to classify `data`, all of it in `out`; see `verbs.augment_with`."""
        from sightline.verbs.augment_with import augment_with

        ways: dict[str, Any] = {"shares": shares, "seeds": seeds, "net": net, "steps": steps, "force": force}
        return drain(augment_with(self.opened, data, out=Path(out), **ways), listen)

    def adapt(
        self,
        data: str | Path,
        out: str | Path,
        *,
        false_alarms: float | None = None,
        part_by: str = "",
        force: bool = False,
        overwrite: bool = False,
        listen: Listener | None = None,
    ) -> Model:
        """The model with a threshold by pictures of today's good parts, written to `out`; see `verbs.adapt`.

        Whether the line has drifted, `listen` is told, and `card.operating["adapted"]` of what is returned holds.
        """
        from sightline.verbs.adapt import adapt

        ways: dict[str, Any] = {"part_by": part_by, "force": force, "overwrite": overwrite}
        return load(drain(adapt(self.opened, data, out=Path(out), rate=false_alarms, **ways), listen))

    def enroll(
        self,
        gallery: Gallery,
        people: str | Path | Mapping[str, Sequence[Any]],
        terms: Terms,
        *,
        listen: Listener | None = None,
    ) -> Enrolled:
        """Remember people in a gallery by their pictures: by name, or a folder with a folder for each.

        gallery: of `sightline.gallery.store`; terms: see `verbs.enrol`.
        """
        from sightline.verbs.enrol import enrol, people_in

        told = people_in(Path(people)) if isinstance(people, (str, Path)) else people
        return drain(enrol(self.opened, gallery, told, terms), listen)

    def verify(self, gallery: Gallery, name: str, source: Any, *, threshold: float | None = None) -> Verification:
        """Whether the face in a picture is that of somebody in a gallery; see `verbs.recognise`."""
        from sightline.verbs.recognise import verify

        return verify(self.opened, gallery, name, source, threshold=threshold)

    def identify(
        self,
        gallery: Gallery,
        sources: str | Path | Iterable[Any],
        *,
        threshold: float | None = None,
        collection: str = "",
    ) -> Iterator[Answer]:
        """Faces with the names of those in a gallery, or in one of its collections, or `unknown`; sources as for
        `predict_many`."""
        from sightline.verbs.recognise import identify

        many = list(expand([str(sources)])) if isinstance(sources, (str, Path)) else sources
        return identify(self.opened, gallery, many, threshold=threshold, collection=collection)

    def export(
        self,
        *,
        to: str = "onnx-int8",
        data: str | None = None,
        max_drop: float | None = None,
        accept: bool = False,
        listen: Listener | None = None,
    ) -> Model:
        """Write another graph into the bundle, behind its gate, and return the model that runs it.

        max_drop: what bfloat16 or int8 may cost; see `verbs.export`.
        """
        from sightline.verbs.export import export

        path = drain(export(self.opened, to=to, data=data, max_drop=max_drop, accept=accept), listen)
        return load(path, graph=to)

    def best(
        self,
        *,
        data: str | None = None,
        max_drop: float | None = None,
        max_latency: str = "",
        max_size: str = "",
        accept: bool = False,
        listen: Listener | None = None,
    ) -> Model:
        """Measure every graph on this machine, record the best within the limits, and return the model that runs it.

        max_latency, max_size: as `20ms` and `8MB`; see `verbs.best`.
        """
        from sightline.verbs.best import Limits, best, megabytes, milliseconds
        from sightline.verbs.trial import allowed

        most = allowed(self.opened.task, max_drop)
        limits = Limits(max_drop=most, max_latency_ms=milliseconds(max_latency), max_size_mb=megabytes(max_size))
        drain(best(self.opened, data=data, limits=limits, accept=accept), listen)
        return load(self.path)

    def bench(self, *, threads: int = 0) -> list[Any]:
        """Latency, throughput, load time and memory of each graph of the bundle, on this machine."""
        from sightline.verbs.bench import bench

        return list(bench(self.path, threads=threads))

    def _repr_html_(self) -> str:
        import html

        measures = next(iter(self.card.metrics.values()), {})
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{measure['value']:.4f}</td></tr>"
            for name, measure in measures.items()
            if "/" not in name and measure["value"] is not None
        )
        return f"<b>{html.escape(self.card.task)}</b> {html.escape(str(self.path))}<table>{rows}</table>"


def load(path: str | Path, *, graph: str = "", threads: int = 0) -> Model:
    """Open a bundle (a folder or one zip); nothing in it is executed but its checked graphs.

    graph: by default the one the card prefers, else `onnx`; a warning says when the preferred one cannot run here.
    Raises BundleError for a bundle that is damaged or unsafe.
    """
    opened = open_model(path, variant=graph, threads=threads)
    if opened.fallback:
        warnings.warn(opened.fallback, RuntimeWarning, stacklevel=2)
    return Model(opened)


def train(
    task: str,
    data: str | Path,
    *,
    net: str = "",
    recipe: Mapping[str, Any] | None = None,
    layout: str | None = None,
    out: str | Path | None = None,
    devices: int = 1,
    listen: Listener | None = None,
) -> Model:
    """Learn a task from data and return the finished model; the run folder is the parent of its `path`.

    recipe: settings by their command-line names with underscores, and the net's own as `net.<name>`:
    `{"epochs": 20, "seed": 7, "net.width": 16}`. devices: so many processes learn together; this one leads, and begins
    and ends the others. listen: called with every event.
    """
    from sightline.verbs.settings import Settings
    from sightline.verbs.train import train as training

    values = dict(recipe or {}) | ({"devices": devices} if devices != 1 else {})
    settings = Settings(task, str(data), layout, net, values)
    run = drain(training(settings, out=Path(out) if out is not None else None), listen)
    return load(run / "model")


def audit(
    data: str | Path, *, layout: str | None = None, group_by: str = "", listen: Listener | None = None
) -> auditing.Audit:
    """Bad files, leaks between splits, contradictions and rare classes of a data set."""
    return drain(auditing.audit(str(data), layout=layout, group_by=group_by), listen)
