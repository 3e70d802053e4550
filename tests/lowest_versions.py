# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""`make test-min`: prints the lowest versions that pyproject.toml allows, as constraints for pip."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("dev", "demo", "lora", "ner")
# A torch of 2.9's time has wheels for a CPU only on PyTorch's own index; PyPI's bring gigabytes for a GPU along.
NOT_LOWERED = ("torch",)


def lowest_versions(pyproject: Path) -> dict[str, str]:
    """Each direct dependency with the version of its `>=` or `==`, those of `EXTRAS` included."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    lowest = {}
    for requirement in map(Requirement, lines):
        (version,) = (one.version for one in requirement.specifier if one.operator in (">=", "=="))
        if requirement.name not in NOT_LOWERED:
            lowest[requirement.name] = version
    return lowest


if __name__ == "__main__":
    for name, version in lowest_versions(Path(__file__).parents[1] / "pyproject.toml").items():
        print(f"{name}=={version}")
