"""How Sphinx makes the pages and the man page, by ``make docs``."""

from importlib.metadata import version as version_of

project = "resourced"
author = "resourced contributors"
project_copyright = "resourced contributors"
version = release = version_of("resourced")

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"resourced {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

man_pages = [("resourcectl", "resourcectl", "lock named things, and run commands under a lock", [], 1)]
