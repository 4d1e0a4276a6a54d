"""The verbs of experiments. Their imports are light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
Share = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))]

experiment = App(name="experiment", help="Plan experiments, read their reports, and analyse counts of others.")


@experiment.command
def report(
    name: Annotated[str, Parameter(help="The experiment's id; `holdout` is the global one.")],
    *,
    html: Annotated[Path | None, Parameter(help="Write the report there too, as one page with plots.")] = None,
    json: Annotated[bool, Parameter(help="Print it as JSON instead.", negative="")] = False,
    home: HomeOption = None,
) -> None:
    """Say what is known of an experiment, in words and figures.

    The archive is read from where the last report ended.
    """
    import msgspec
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from features.settings import load
    from service.experiments.reports import reporting, terminal

    columns = SpinnerColumn(), TextColumn("{task.completed:,} events read"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)
        found = reporting.report(load(os.environ, home).home, name, lambda count: progress.advance(task, count))
    if html is not None:
        from service.experiments.reports.html import render

        html.write_text(render(found), encoding="utf-8")
    if json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    terminal.show(Console(), found)


@experiment.command
def plan(
    *,
    mean: Annotated[float, Parameter(help="Of the metric in the control: a conversion rate, or an amount per unit.")],
    deviation: Annotated[
        float | None, Parameter(help="Standard deviation of an amount between units; without it, `mean` is a rate.")
    ] = None,
    effect: Annotated[
        float | None, Parameter(help="The relative change that is worth finding, as 0.05 for 5 %.")
    ] = None,
    units: Annotated[
        int | None,
        Parameter(help="The units that there will be, instead of an effect.", validator=validators.Number(gte=2)),
    ] = None,
    daily: Annotated[
        float | None, Parameter(help="New units a day, to say how long it takes.", validator=validators.Number(gt=0))
    ] = None,
    shares: Annotated[
        tuple[float, ...], Parameter(help="Of each variant, the control first.", consume_multiple=True)
    ] = (0.5, 0.5),
    confidence: Share = 0.95,
    power: Share = 0.8,
    mode: Literal["fixed", "sequential"] = "sequential",
    correlation: Annotated[float, Parameter(help="Of the metric with itself before the enrolment (CUPED).")] = 0.0,
    metrics: Annotated[
        int, Parameter(help="Compared together, guardrails apart.", validator=validators.Number(gte=1))
    ] = 1,
) -> None:
    """Say how many units an experiment takes, or what it can find, before it starts.

    Of --effect and --units, one is needed.
    """
    from service.experiments.inference.planning import Design, PlanError, plan_effect, plan_units

    if (effect is None) == (units is None):
        raise PlanError("of --effect and --units, one is needed")
    design = Design(
        mean=mean,
        deviation=deviation,
        shares=shares,
        confidence=confidence,
        power=power,
        mode=mode,
        correlation=correlation,
        comparisons=metrics * (len(shares) - 1),
    )
    if effect is not None:
        units = plan_units(design, effect * mean)
    found = effect if effect is not None else plan_effect(design, units or 0) / abs(mean)
    print(f"{units:,} units find a change of {found:+.2%} from {mean:g} with a power of {power:.0%} ({mode})")
    if daily is not None and units is not None:
        days = units / daily
        print(f"{days:,.1f} days at {daily:,.0f} new units a day; whole weeks are best: {-(-days // 7) * 7:,.0f} days")
    print(f"in the catalog: analysis: {{mode: {mode}, units: {units}}}")


@experiment.command
def analyse(
    counts: Annotated[Path, Parameter(help="CSV or Parquet: experiment, arm, units, conversions.")],
    *,
    by: Annotated[str | None, Parameter(help="A column by which mismatches are told too, as a week.")] = None,
    confidence: Share = 0.95,
    out: Annotated[Path | None, Parameter(help="Write all results there, as CSV.")] = None,
) -> None:
    """Analyse experiments that were run elsewhere, thousands at once.

    Instead of conversions there may be `sum` and `sum_of_squares` of an amount, and `share` for shares that were not
    meant to be equal. The first arm of each experiment is the control.
    """
    from rich.console import Console

    from service.experiments.reports import counts as counting
    from service.experiments.reports import terminal

    table = counting.read(counts, by)
    results = counting.analyse(table, confidence)
    terminal.show_counts(Console(), table, results, by, 1 - confidence)
    if out is not None:
        counting.write(out, table, results)
