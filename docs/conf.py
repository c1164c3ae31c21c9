"""Settings of the site. To build it: sphinx-build -W --keep-going -b html docs build/site."""

import ast
import inspect
import os
import re
import sys
import textwrap
from importlib import metadata
from pathlib import Path

from flax import nnx
from sphinx.util.inspect import stringify_signature

project = "vqvae_jax"
release = metadata.version(project)
html_title = f"{project} {release}"
html_theme = "furo"
html_show_copyright = False
# Where the repository can be browsed, for a link to each page's source: {"source_repository": ...}.
html_theme_options: dict[str, str] = {}
html_static_path = ["_static"]
html_js_files = [("accessible.js", {"defer": "defer"})]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**.ipynb_checkpoints"]
suppress_warnings = ["myst.header"]  # pages that begin with a smaller heading

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Notebooks run at every build, with the commands of this environment, each in an empty folder; in
# its own where its metadata says so, to find files of the repository.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds for a cell, on machines with other work
nb_merge_streams = True
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def docstring(app, what, name, obj, options, lines):
    """Makes reStructuredText of a docstring: indented blocks are literal, | and * and _ are text.

    Blocks that are Python are examples, the others are equations.
    """
    depth, parts = 0, []  # each: whether it is literal, the text's depth around it, it itself
    for paragraph in re.split(r"\n{2,}", "\n".join(lines).strip("\n")):
        indent = len(paragraph) - len(paragraph.lstrip())
        is_literal = indent >= depth + 4
        if is_literal and parts and parts[-1][0]:
            parts[-1][2] += f"\n\n{paragraph}"
            continue
        depth = depth if is_literal else indent
        parts.append([is_literal, depth, paragraph])
    result = [_literal(text, " " * at) if is_it else _escaped(text) for is_it, at, text in parts]
    lines[:] = "\n\n".join(result).splitlines()
    if what == "property":  # whose first line napoleon would split at a colon
        lines[:0] = ["..", ""]


def _literal(paragraph, margin):
    code = textwrap.dedent(paragraph)
    try:
        ast.parse(code)
        language = "python"
    except SyntaxError:
        language = "text"
    body = textwrap.indent(code, f"{margin}    ")
    return f"{margin}.. code-block:: {language}\n\n{body}"


def _escaped(paragraph):
    def code(text):
        return f"`{text}`" if re.fullmatch(r"[A-Za-z_][\w.]*", text) else f"``{text}``"

    parts = re.split(r"`([^`]*)`", paragraph)
    parts[::2] = [re.sub(r"([|*]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [code(part) for part in parts[1::2]]
    return "".join(parts)


def signature(app, what, name, obj, options, given, returns):
    """Shows a constructor's own arguments, and functions among the defaults by their names."""
    if what == "class":
        is_protocol = getattr(obj, "_is_protocol", False)
        if is_protocol or inspect.isabstract(obj) or issubclass(obj, nnx.Variable):
            return "", ""  # none that a user calls
        own = inspect.Signature([*inspect.signature(obj.__init__).parameters.values()][1:])
        given = stringify_signature(own, show_annotation=False)
    if given is not None:
        given = re.sub(r"<(?:PjitFunction of )?<?function (\w+)[^>]*>>?", r"\1", given)
    return given, returns


def setup(app):
    """Connects the functions above, before napoleon's."""
    app.connect("autodoc-process-docstring", docstring, priority=100)
    app.connect("autodoc-process-signature", signature)
