"""Puts sections into one HTML file that needs nothing else: no other file, no network."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.report.html.content import Report

with extra("train"):
    import bokeh.resources
    import jinja2
    from markupsafe import Markup
    from PIL import Image

Section = Callable[[Report], Mapping[str, Any] | None]

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("vqvae_jax.report.html"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def page(title: str, lead: Sequence[str], report: Report, sections: Mapping[str, Section]) -> bytes:
    """Returns a page.

    Args:
        title: its title, one line.
        lead: what it says first, by paragraphs.
        report: the content.
        sections: by the names of their templates.
    """
    bodies = []
    for name, section in sections.items():
        content = section(report)
        if content is not None:
            template = _templates.get_template(f"{name}.html")
            bodies.append((name, Markup(template.render(content))))
    resources = bokeh.resources.Resources(mode="inline", components=["bokeh"])
    text = _templates.get_template("page.html").render(
        title=title,
        lead=lead,
        sections=bodies,
        plots=Markup(resources.render_js()),
        style=_source("page.css"),
        script=_source("page.js"),
    )
    return text.encode()


def _source(name: str) -> Any:
    """Returns a file that belongs into the page as it is."""
    assert _templates.loader is not None
    return Markup(_templates.loader.get_source(_templates, name)[0])


def png(pixels: np.ndarray) -> str:
    """Returns pixels uint8 [H, W, C], C 1 or 3, as the address of an embedded PNG file."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
