"""How the page is put together safely: every text is escaped, and only the page's own two scripts may run.

The page carries its scripts and may load nothing: its content security policy names the scripts by hash, so that text
of a device could not run even where escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from trainer.service import wording
from trainer.service.figures import Figure

MAX_TABLE_ROWS = 100


def render(content: Mapping[str, Any]) -> str:
    """Fill the template with `content`; all of it is escaped."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - half a second, which only those pay who make a page

    scripts = [get_plotlyjs().replace("\r\n", "\n"), _resource("report.js")]
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= wording.FILTERS | {"figure": _figure_json}
    return environment.get_template("report.html.j2").render(
        **content,
        # Scripts and styles are this package's and plotly's own files; everything else is escaped.
        style=Markup(_resource("report.css")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        script_hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _figure_json(figure: Figure) -> Markup:
    """JSON that cannot end its script element or open another: `<`, `>` and `&` are written as escapes."""
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False)  # ASCII: no U+2028 either
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - nothing in it means anything to an HTML parser any more


def _resource(name: str) -> str:
    return resources.files("trainer.service").joinpath("templates", name).read_text(encoding="utf-8")
