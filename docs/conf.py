# SPDX-License-Identifier: Apache-2.0
"""Settings of Sphinx."""

import warpquant

project = "warpquant"
author = "The warpquant authors"
version = release = warpquant.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "options/accuracy_*.md"]  # tables that pages include
html_theme = "furo"
html_title = f"warpquant {release}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Names in single backticks become links where there is something to link to, and code elsewhere.
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
# Types of parameters are written for readers: "array, shape (bars,)".
# Their words, and parameters in backticks, may be names of several attributes and refer to none of them.
suppress_warnings = ["ref.python"]
nitpick_ignore_regex = [("py:class", ".*"), ("py:obj", ".*")]
# A word such as `bars`, in the types of parameters, is an attribute of several classes, of which none is meant.
suppress_warnings = ["ref.python"]
