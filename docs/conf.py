"""How Sphinx makes the pages and the man pages, by ``make docs``."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "resourced"
author = "resourced contributors"
project_copyright = "resourced contributors"
version = release = version_of("resourced")
# Where a man page has the date: it is to be the same whenever it is made.
today = f"resourced {release}"

extensions = ["sphinx.ext.autodoc", "sphinx_copybutton", "docs.tables", "docs.operations", "docs.diagrams"]
exclude_patterns = ["_build"]
# ``--option`` stays as it is to be typed.
smartquotes = False

html_theme = "furo"
html_title = f"resourced {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

man_pages: list[tuple[str, str, str, list[str], int]] = [
    ("reference/resourcectl", "resourcectl", "lock named things, and run commands under a lock", [], 1),
    ("reference/settings", "resourced", "a lock server for programs on many machines", [], 8),
]
