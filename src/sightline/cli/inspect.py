"""inspect: sort parts by what a model finds on their pictures, a folder once or as they come, each recorded once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sightline.cli._opened import GRAPH_HELP
from sightline.cli._opened import opened as open_for

if TYPE_CHECKING:
    from sightline.verbs.inspect import Inspection
    from sightline.verbs.rules import Rules

EXAMPLE = """\b
Examples:
  sightline inspect model parts/ --out inspected/
  sightline inspect model --watch-folder in/ --move-to done/ --out inspected/ --draw
  sightline inspect model --watch-folder in/ --move-to done/ --out inspected/ --rules rules.yaml --pace 30/m
  sightline inspect model labelled/ --rules rules.yaml --cost-table --defective 0.01
  sightline inspect model parts/ --out inspected/ --part-by '(.*)-view[0-9]'
  sightline inspect model --watch-folder in/ --move-to done/ --out inspected/ --part-by '(.*)-view[0-9]' --views 4
  sightline inspect model good-of-today/ --adapt --out model-of-today

\b
Rules are tried in order, and the first that holds decides: accept, rework, reject or ask.
  rules:
    - {decide: reject, kind: [crack, break]}
    - {decide: rework, score: {above: 1.0, below: 1.5}}   # times the threshold
    - {decide: accept}
Conditions are kind, score, p_value, area, regions and abstained; label where the model gives classes.

Stop it with Ctrl-C, or kill it: the same command goes on, and no part is lost or recorded twice."""

TO_WATCH = ("move_to", "pace", "stop_after", "idle", "poll", "patience")
"""Options that only watching has."""
TO_ADAPT = ("false_alarms", "force", "overwrite")
"""Options that only --adapt has; those it shares are below."""
ADAPTING = ("model", "folder", "adapt", "out", "graph", "part_by", *TO_ADAPT)


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("folder", required=False)
@click.option("--watch-folder", type=click.Path(path_type=Path), help="record pictures as they come into this folder")
@click.option("--move-to", type=click.Path(path_type=Path), help="where they go then, into a folder for each decision")
@click.option("--out", type=click.Path(path_type=Path), help="folder for results.jsonl, counter.json ...; a new bundle")
@click.option("--rules", type=click.Path(path_type=Path), help="YAML that says which parts are accepted, rejected ...")
@click.option("--draw", is_flag=True, help="draw each answer on its picture, in OUT/pictures")
@click.option("--pace", default="", help="most parts by time, as 2/s or 30/m [as fast as can be]")
@click.option("--stop-after", type=click.IntRange(1), default=None, help="end after so many parts")
@click.option("--idle", type=click.FloatRange(0, min_open=True), default=None, help="end after so many idle seconds")
@click.option("--poll", type=click.FloatRange(0.01), default=0.2, show_default=True, help="seconds between two looks")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="seconds until a file that cannot be decoded is unreadable, or a part that lacks views is taken",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    show_default=True,
    help="parquet: write results.parquet too, at the end",
)
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--cost-table", is_flag=True, help="what the rules do with labelled data in FOLDER, and what that costs")
@click.option(
    "--defective", type=click.FloatRange(0, 1), default=None, help="share of defective parts to reckon with [FOLDER's]"
)
@click.option("--part-by", default="", help="regular expression whose first group, in a name, is the part it shows")
@click.option("--views", type=click.IntRange(2, 100), default=None, help="pictures that a part has, while watching")
@click.option("--views-any", is_flag=True, help="of several views, each keeps the threshold of a single picture")
@click.option("--adapt", is_flag=True, help="choose the threshold anew by FOLDER's good parts, and write a bundle OUT")
@click.option(
    "--false-alarms", type=click.FloatRange(0, 0.5, min_open=True), default=None, help="rate to adapt for [as before]"
)
@click.option("--force", is_flag=True, help="adapt though some pictures may not show good parts")
@click.option("--overwrite", is_flag=True, help="replace a bundle that is at OUT, which may be MODEL")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    folder: str | None,
    watch_folder: Path | None,
    move_to: Path | None,
    out: Path | None,
    rules: Path | None,
    draw: bool,
    pace: str,
    stop_after: int | None,
    idle: float | None,
    poll: float,
    patience: float,
    form: str,
    graph: str,
    cost_table: bool,
    defective: float | None,
    part_by: str,
    views: int | None,
    views_any: bool,
    adapt: bool,
    false_alarms: float | None,
    force: bool,
    overwrite: bool,
) -> None:
    """Sort parts by what MODEL finds on their pictures: all in FOLDER, or as they come into --watch-folder.

    With --adapt, FOLDER shows good parts of today: say whether the line has drifted, and fit the threshold to them.
    """
    _check(ctx)
    if adapt:
        ways = {"rate": false_alarms, "part_by": part_by, "force": force, "overwrite": overwrite}
        _adapt(model, str(folder), Path(str(out)), graph, ways)
        return
    from sightline.cli._display import watch as show
    from sightline.verbs.arrivals import rate_of
    from sightline.verbs.inspect import inspect, watch
    from sightline.verbs.line import Watching
    from sightline.verbs.parts import Views
    from sightline.verbs.rules import read_rules

    rate, said = rate_of(pace), read_rules(rules) if rules else None
    opened = open_for(model, graph=graph)
    if cost_table and said:
        _print_costs(opened, str(folder), said, defective)
        return
    asked: dict[str, Any] = {"out": out, "rules": said, "draw": draw, "table": form == "parquet"}
    asked["views"] = Views(part_by, views_any, views or 0) if part_by else None
    if watch_folder and move_to:
        ends = {"stop_after": stop_after or 0, "idle": idle or 0.0}
        watching = Watching(move_to=move_to, rate=rate, poll=poll, patience=patience, **ends)  # type: ignore[arg-type]
        found = show(watch(opened, watch_folder, watching, **asked))
    else:
        found = show(inspect(opened, Path(str(folder)), **asked))
    _conclude(ctx, found)


def _check(ctx: click.Context) -> None:
    """Raise UsageError for options that do not go together."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    watched = "watch_folder" in given
    if ("folder" in given) == watched:
        raise click.UsageError("give a FOLDER to inspect once, or --watch-folder, one of them")
    if watched and "move_to" not in given:
        raise click.UsageError("--watch-folder needs --move-to, where pictures go once they are recorded")
    other = [f"--{name.replace('_', '-')}" for name in TO_WATCH if name in given and not watched]
    if other:
        raise click.UsageError(f"{other[0]} needs --watch-folder; the pictures of a FOLDER stay where they are")
    if "part_by" in given and "cost_table" in given:
        raise click.UsageError("--cost-table counts pictures; leave --part-by out")
    if "views" in given and not (watched and "part_by" in given):
        raise click.UsageError("--views needs --watch-folder and --part-by, which says what the views of a part are")
    if "part_by" in given and watched and "views" not in given:
        raise click.UsageError("--part-by needs --views N at a watched folder: how many pictures a part has")
    if "views_any" in given and "part_by" not in given:
        raise click.UsageError("--views-any needs --part-by, which says what the views of a part are")
    adapted = [name for name in TO_ADAPT if name in given]
    if adapted and "adapt" not in given:
        raise click.UsageError(f"--{adapted[0].replace('_', '-')} needs --adapt")
    apart = [name for name in ctx.params if name in given and name not in ADAPTING]
    if "adapt" in given and apart:
        raise click.UsageError(f"--adapt inspects nothing; leave --{apart[0].replace('_', '-')} out")
    if "cost_table" in given and (watched or "rules" not in given):
        raise click.UsageError("--cost-table needs a FOLDER with labelled pictures, and --rules")
    if "defective" in given and "cost_table" not in given:
        raise click.UsageError("--defective needs --cost-table")
    if "out" not in given and "cost_table" not in given:
        what = "the new bundle" if "adapt" in given else "the folder for results.jsonl, counter.json and pareto.png"
        raise click.UsageError(f"--out is missing: {what}")


def _adapt(model: Path, data: str, out: Path, graph: str, ways: Mapping[str, Any]) -> None:
    """Write a bundle with a threshold by today's good parts, saying what is found on the way."""
    from sightline.cli._display import watch as show
    from sightline.verbs.adapt import adapt

    show(adapt(open_for(model, graph=graph), data, out=out, **ways))


def _print_costs(opened: Any, data: str, rules: Rules, share: float | None) -> None:
    """Decisions by truth, and what the rules cost beside what it costs to have none."""
    from sightline.cli._display import table
    from sightline.cli._display import watch as show
    from sightline.verbs.costs import costs

    found = show(costs(opened, data, rules, share=share))
    table([(name, *counts) for name, counts in found.counts.items()], ("decision", "good", "defective"))
    at = f"{100 * found.share:.3g} % of the parts defective"
    measure = found.cost
    click.echo(f"\ncost of 100 parts, {at}: {measure.value:.4g} [{measure.low:.4g}, {measure.high:.4g}]")
    for name, cost in sorted(found.fixed.items(), key=lambda pair: pair[1]):
        click.echo(f"  {name}: {cost:.4g}")
    cheapest = min(found.fixed, key=lambda name: found.fixed[name], default="")
    if cheapest and found.fixed[cheapest] <= measure.value:
        click.echo(f"! to {cheapest} costs no more than these rules", err=True)


def _conclude(ctx: click.Context, found: Inspection) -> None:
    """What it came to, how to go on, and the code to leave with."""
    from sightline.core.errors import INTERRUPTED_EXIT_CODE, PARTIAL_EXIT_CODE

    counts = found.counts
    each = ", ".join(f"{name} {count:,}" for name, count in counts["decisions"].items())
    click.echo(
        f"{found.parts:,} parts now, {counts['parts']:,} in {found.out}" + (f": {each}" if each else ""), err=True
    )
    if found.stopped:
        click.echo(f"stopped; go on with: {_command(ctx)}", err=True)
        ctx.exit(INTERRUPTED_EXIT_CODE)
    if counts["unreadable"]:
        ctx.exit(PARTIAL_EXIT_CODE)


def _command(ctx: click.Context) -> str:
    """What was typed."""
    import shlex

    words = ["sightline", "inspect"]
    for each in ctx.command.params:
        value = ctx.params.get(each.name or "")
        if ctx.get_parameter_source(each.name or "") == ParameterSource.COMMANDLINE:
            words += [] if isinstance(each, click.Argument) else [each.opts[0]]
            words += [] if value is True else [str(value)]
    return shlex.join(words)
