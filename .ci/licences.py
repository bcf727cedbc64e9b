"""Fail if a package that this project needs is under the GPL or AGPL, states no licence, or is not installed.

Licences are read from the metadata of the installed packages: the requirements of this project with all extras, and
their requirements. SECURITY.md lists what wheels bundle beyond that.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "tune-run"
# Does not match the LGPL, nor GCC's runtime libraries, which are in NumPy's wheel and which anyone may link.
COPYLEFT = re.compile(r"\bA?GPL(?![\w.+-]*\s+WITH\s+GCC-exception)|(?<!Lesser )General Public|Affero", re.IGNORECASE)
# Looked up by hand, because their metadata states no licence.
LOOKED_UP = {
    "cuda-toolkit": "NVIDIA's own: names packages, holds no code",
    "huey": "MIT, by the LICENSE in its wheel",
    "skops": "MIT, by the LICENSE in its wheel",
}


def needed(name: str, extras: frozenset[str], found: dict[str, Distribution | None]) -> None:
    """Add a package and everything it needs here. Packages that are not installed become None."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        found[canonicalize_name(name)] = None
        return
    known = canonicalize_name(name) in found
    if known and not extras:
        return
    found[canonicalize_name(name)] = package
    for line in package.requires or ():
        requirement = Requirement(line)
        wanted = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, wanted)):
            needed(requirement.name, frozenset(requirement.extras), found)


def licence(package: Distribution) -> str:
    """Return what the metadata states: a licence expression, classifiers and the first line of the licence."""
    about = package.metadata
    text = next(iter((about.get("License") or "").strip().splitlines()), "")
    classifiers = [line for line in about.get_all("Classifier") or () if line.startswith("License :: ")]
    said = [about.get("License-Expression") or "", text, *(line.rpartition(" :: ")[2] for line in classifiers)]
    return "; ".join(part for part in said if part and part not in ("UNKNOWN", "OSI Approved"))


def fault_of(name: str, package: Distribution | None) -> str:
    """Return what is wrong with a package's licence, or ""."""
    if package is None:
        return "it is not installed, so its licence cannot be read: install this project with all extras"
    said = licence(package) or LOOKED_UP.get(name, "")
    if not said:
        return "its metadata states no licence"
    return said if COPYLEFT.search(said) else ""


def main() -> int:
    """Print one line for each package at fault."""
    found: dict[str, Distribution | None] = {}
    needed(PROJECT, frozenset(distribution(PROJECT).metadata.get_all("Provides-Extra") or ()), found)
    del found[PROJECT]
    faults = {name: fault for name, package in sorted(found.items()) if (fault := fault_of(name, package))}
    for name, fault in faults.items():
        print(f"{name}: {fault}")
    print(f"licences: {len(found)} packages, {len(faults)} at fault")
    return int(bool(faults) or len(found) < 50)


if __name__ == "__main__":
    sys.exit(main())
