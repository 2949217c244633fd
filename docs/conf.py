"""Sphinx's configuration; the reference pages are written by `_ext/reference.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from jupyterhub_binder import __version__

project = "jupyterhub-binder"
copyright = "the jupyterhub-binder contributors"
release = version = __version__

extensions = ["myst_parser", "sphinx_copybutton", "reference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "reference/generated"]
nitpicky = True
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "END"

html_theme = "pydata_sphinx_theme"
html_title = "jupyterhub-binder"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
