"""Findings as a table for people, or as JSON for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table
from rich.text import Text

from service.doctor.findings import worst

if TYPE_CHECKING:
    from service.doctor.findings import Finding, Verdict

STYLES: dict[Verdict, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def render(findings: list[Finding]) -> Table:
    table = Table(title=f"Kairos: {worst(finding.verdict for finding in findings)}", title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict, style=STYLES[finding.verdict])
        table.add_row(finding.check, verdict, Text(finding.found), Text(finding.advice))
    return table


def encode(findings: list[Finding]) -> str:
    """`{"verdict": …, "checks": [{"check", "verdict", "found", "advice", "figures"}]}`."""
    report = {"verdict": worst(finding.verdict for finding in findings), "checks": findings}
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
