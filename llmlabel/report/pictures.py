"""The report's charts as pictures that stand alone: SVG files for whoever shows a run elsewhere."""

from __future__ import annotations

import re
from functools import cache

from llmlabel.report.charts import Chart
from llmlabel.report.render import environment
from llmlabel.report.view import Page

_RULES = re.compile(r"^(?!\s)[^@{}\n]*(?::root|\.chart|\.grid|\.tick|\.last)[^{\n]*\{[^}]*\}", re.M)


def charts(page: Page) -> list[Chart]:
    """The charts with two axes that a report draws, in its order."""
    found: list[Chart | None] = []
    if page.evidence:
        found += [page.evidence.trust.reliability, page.evidence.trust.risk]
        found += [page.evidence.annotators.chart] if page.evidence.annotators else []
    if page.align:
        found += [*page.align.curves, page.align.cycles.chart if page.align.cycles else None]
    if page.select:
        found.append(page.select.charts.cost)
    return [chart for chart in found if chart]


def picture(chart: Chart) -> str:
    """One chart as an SVG document: black on white, whatever page it stands on."""
    figure = str(environment().get_template("chart.html.j2").module.draw(chart))  # type: ignore[attr-defined]
    drawn = figure[figure.index("<svg") + len("<svg") : figure.index("</svg>")]
    head, _, body = drawn.partition(">")
    size = f'xmlns="http://www.w3.org/2000/svg" class="chart" width="{chart.width}" height="{chart.height}"'
    return f'<svg {size}{head}><style>{_style()}</style><rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'


@cache
def _style() -> str:
    whole = environment().get_template("style.css.j2").render()
    return "\n".join([*_RULES.findall(whole), "text { font-family: system-ui, sans-serif; }"])
