"""A report as one file that a browser shows without anything else."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING

from service.experiments.reports import plots, wording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from service.experiments.reports.schema import Report

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .8rem .3rem 0 }
th { border-bottom: 1px solid #9aa4b2; font-weight: 600 } td { border-bottom: 1px solid #eee }
.verdict { border-left: 4px solid #1f6feb; padding: .6rem 1rem; background: #f4f7fb; font-size: 1.1rem }
.investigate, .stop { border-color: #c93c37; background: #fdf3f2 }
svg { max-width: 100%; height: auto } li { margin: .2rem 0 }
"""


def render(report: Report) -> str:
    """The page; its figures are drawings in it."""
    verdict = report.verdict
    parts = [
        f"<h1>{escape(report.experiment)}</h1>",
        f'<p class="verdict {verdict.action}">{escape(verdict.text)}</p>',
        *(_table(sheet) for sheet in wording.sheets(report)),
        *(f"<h2>{escape(title)}</h2>{_drawing(figure)}" for title, figure in plots.draw(report).items()),
        "<h2>What this assumes</h2>",
        f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in verdict.assumptions)}</ul>",
        f"<p>As of {escape(report.as_of)}.</p>",
    ]
    title = escape(report.experiment)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _table(sheet: wording.Sheet) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in sheet.columns)
    rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in sheet.rows]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    note = f"<p>{escape(sheet.note)}</p>" if sheet.note else ""
    return f"<h2>{escape(sheet.title)}</h2><table><tr>{head}</tr>{body}</table>{note}"


def _drawing(figure: Figure) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    return text[text.index("<svg") :]
