"""The documentation site, made by Sphinx from `docs/`, `specs/` and the changelog.

The source folder is the checkout itself, so that a link in a text leads to the same place in the
checkout and on the site.  `script/docs` builds it, with every warning as an error.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "snapplan"
author = "The snapplan authors"
copyright = "2026, the snapplan authors"  # noqa: A001 - Sphinx's name for it
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "schema_tables",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "specs/*.md",
    "specs/decisions/*.md",
    "specs/experiments/*.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/_extensions"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
default_role = "literal"  # docstrings quote code with single backticks
html_theme = "furo"
html_title = "snapplan"
html_copy_source = False
html_show_sourcelink = False
html_extra_path = ["start"]  # index.html of the whole folder
pygments_style = "default"
