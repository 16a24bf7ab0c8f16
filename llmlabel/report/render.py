"""Fill the templates and write the file.

The page fetches nothing and may run one script, ours: its Content-Security-Policy names that script's hash. Every
value is escaped by the template engine; texts of users are never marked as safe and never put inside a script.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from llmlabel.report import words
from llmlabel.report.files import read_run
from llmlabel.report.plots import FONT, HEIGHT, WIDTH, Panel
from llmlabel.report.view import Page, gather
from llmlabel.runs import write_atomic


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder, from what the folder holds, and return its path.

    Raises: DataError when the folder holds no run, a file of it is damaged, or the report cannot be written.
    """
    target = folder / "report.html"
    write_atomic(target, render(page_of(folder)))
    return target


def page_of(folder: Path) -> Page:
    """All that the report of a run folder shows. Raises: DataError when the folder holds no run, or a file of it is damaged."""
    return gather(folder, read_run(folder))


def render(page: Page) -> str:
    """The HTML text of a page."""
    env = environment()
    script = env.get_template("script.js.j2").render().strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = env.get_template("style.css.j2").render()
    shapes = {"map_width": WIDTH, "map_height": HEIGHT, "font": FONT, "panel": Panel}
    own = {"script": Markup(script), "script_hash": digest, "style": Markup(style)}
    return env.get_template("report.html.j2").render(page=page, **own, **shapes)


@cache
def environment() -> jinja2.Environment:
    """The templates, every value in them escaped."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("llmlabel", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "percent", "money", "duration", "latency"):
        env.filters[name] = getattr(words, name)
    env.filters["counted"] = words.count
    return env
