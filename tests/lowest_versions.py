# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""`make test-min`: prints the lowest versions that pyproject.toml allows, as constraints for pip.

torch alone stays as constraints.txt has it: older releases have wheels for a CPU only on PyTorch's own index, and
those of PyPI bring gigabytes for a GPU along: its lower bound is not tested.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("dev", "demo", "graph", "lora", "ner", "ray", "serve")  # what `make` installs
LOWEST = re.compile(r"([\w-]+)(?:\[\w+\])?[>=]=([\d.]+)")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"]]
    for extra in EXTRAS:
        requirements += project["optional-dependencies"][extra]
    lowest = dict(LOWEST.match(requirement).groups() for requirement in requirements)
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    lowest["torch"] = pinned["torch"]
    for name, version in lowest.items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
