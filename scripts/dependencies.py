"""Print what pyproject.toml asks for, one requirement a line: `dependencies.py [extra ...]`.

So that the Makefile can install dependencies without the project itself, from the one place that
lists them.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
requirements = list(project["dependencies"])
for extra in sys.argv[1:]:
    requirements += project["optional-dependencies"][extra]
sys.stdout.write("\n".join(requirements) + "\n")
