"""Sphinx's configuration. CONTRIBUTING.md has the command; nothing is loaded from another host."""

import os
import re
import subprocess
import sys
from pathlib import Path

from docutils import nodes

# What docutils' own writer makes formulas of; Sphinx has no option for it, only for MathJax, a
# megabyte of JavaScript, and for pictures. tests/test_docs.py holds what is used of it.
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from numpydoc.xref import DEFAULT_LINKS
from sphinx.util import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("FASTBP_QUIET", "1")

import fastbp  # noqa: E402

LOG = logging.getLogger("fastbp")

project = "fastbp"
author = "The fastbp developers"
copyright = "The fastbp developers"
version = release = fastbp.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["examples/*.rst", "understand/*.part.md"]
templates_path = ["_templates"]
default_role = "py:obj"  # `fit` in a docstring is a link where there is such a name

# ---- pages -------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False

# ---- docstrings --------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # numpydoc's sections say types
numpydoc_show_class_members = False
# Types of ours are links, other words are not: those that numpydoc knows lead to other sites.
DEFAULT_LINKS.clear()
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {name: f"fastbp.{name}" for name in fastbp.__all__ if name[0].isupper()}

# ---- examples ----------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "copyfile_regex": r".*\.rst",
    "within_subsection_order": "ExampleTitleSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "image_srcset": ["2x"],
}

# ---- looks -------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "fastbp"
html_static_path = ["_static"]
html_css_files = ["fastbp.css"]
html_sidebars = {page: [] for page in ("index", "benchmarks", "changelog")}
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
}


def _formula(block):
    def visit(writer, node):
        try:
            writer.body.append(tex2mathml(node.astext(), as_block=block))
        except MathError as error:
            LOG.warning("%s in the formula %s", error, node.astext(), location=node)
        raise nodes.SkipNode

    return visit, None


def _symbols_are_symbols(app, what, name, obj, options, lines):
    """Let |r| and "H. " in a docstring be what they say.

    In reStructuredText one is a name for other text, the other numbers a list.
    """
    for k, line in enumerate(lines):
        lines[k] = line = re.sub(r"^( *)([A-Z])\. ", r"\1\\\2. ", line)
        if "``" not in line and not line.lstrip().startswith(">>>"):
            lines[k] = re.sub(r"\|(?=\S)|(?<=\S)\|", r"\|", line)


def _help_of_commands(app):
    """Write what each command says of itself, for the page that shows it."""
    folder = ROOT / "docs" / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for command in ("train", "predict", "info", "check", "precompile", "cache"):
        text = subprocess.run(
            [sys.executable, "-m", "fastbp", command, "--help"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "74", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        (folder / f"{command}.txt").write_text(text, encoding="utf-8")


def _links_within_the_site(app, page, source):
    """Lead links that hold on the source tree to pages made of the files."""
    text = re.sub(r"\(((?:\.\./)*)examples/(\w+)\.py\)", r"(\1gallery/\2.rst)", source[0])
    source[0] = re.sub(r"\[(`?[^]]+)\]\((?:\.\./)+(?:fastbp|tests|asv_bench)[^)]*\)", r"\1", text)


def _nothing_from_elsewhere(app, exception):
    """Warn of a page that would load something from another host."""
    loads = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["'](?:https?:)?//""")
    for page in Path(app.outdir).rglob("*.html") if exception is None else ():
        for found in loads.findall(page.read_text(encoding="utf-8")):
            LOG.warning("%s loads from another host: %s", page.name, found)


def setup(app):
    """Join what is above to Sphinx."""
    app.add_html_math_renderer("mathml", _formula(False), _formula(True))
    app.connect("autodoc-process-docstring", _symbols_are_symbols)
    app.connect("builder-inited", _help_of_commands)
    app.connect("build-finished", _nothing_from_elsewhere)
    app.connect("source-read", _links_within_the_site)
