"""A virtual environment that holds only some of the installed packages, as links, and everything they require."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def required(lines: Iterable[str]) -> dict[str, Distribution]:
    """Return the packages of a requirements file, and all that they require, by canonical name."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name not in found:
            found[name] = distribution(name)
            needs = map(Requirement, found[name].requires or ())
            waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def slim_environment(folder: Path, requirements: Iterable[str]) -> Path:
    """Make an environment in ``folder`` with these requirements, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    scripts = Path(sysconfig.get_path("scripts"))
    for package in required(requirements).values():
        for file in package.files or ():
            link = packages / file.parts[0]
            if file.parts[0] not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(package.locate_file(file.parts[0]))))
        for script in package.entry_points.select(group="console_scripts"):
            if (scripts / script.name).is_file():
                python = f"#!{folder / 'bin' / 'python'}\n"
                text = (scripts / script.name).read_text().partition("\n")[2]
                (folder / "bin" / script.name).write_text(python + text)
                (folder / "bin" / script.name).chmod(0o755)
    return folder / "bin" / "python"
