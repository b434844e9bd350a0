# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and variables for ansible-test, and the integration targets that it did not run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import pythons

# ansible-test downloads a script that installs pip into its virtual environments. Machines that reach only package
# registries cannot download it. This script replaces it: it installs the same version of pip with Python's ensurepip.
PIP_VERSION = "25.2"
GET_PIP = Path.home() / ".ansible/test/cache" / f"get_pip_{PIP_VERSION.replace('.', '_')}.py"
GET_PIP_CODE = """\
import subprocess
import sys

packages = [word for word in sys.argv[1:] if not word.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet"] + packages)
"""


def python_options(programs: Path) -> list[str]:
    """Return the options that run a check with each Python of this machine."""
    _provide_get_pip()
    options = ["--controller", f"origin:python=default@{programs / 'python'}"]
    for version, path in pythons.targets().items():
        options += ["--target-python", f"{version}@{path}"]
    return options


@contextmanager
def integration_variables(copy: Path, variables: Mapping[str, object]) -> Iterator[None]:
    """Pass variables to the integration tests in a file, which is deleted afterwards so that linters ignore it."""
    file = copy / "tests/integration/integration_config.yml"
    file.write_text(json.dumps(variables, indent=2))
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def results(copy: Path) -> Iterator[Path]:
    """Empty the folder of ansible-test's results before a run, and yield its path."""
    folder = copy / "tests/output"
    for kind in ("junit", "data"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    yield folder


def skipped_targets(copy: Path, output: Path) -> list[str]:
    """Return the integration targets that contain tests and did not run."""
    ran = {name for file in output.glob("data/integration-*.json") for name in json.loads(file.read_text())["targets"]}
    targets = (folder for folder in sorted((copy / "tests/integration/targets").iterdir()) if _is_test(folder))
    return [f"integration {folder.name}: ansible-test did not run it" for folder in targets if folder.name not in ran]


def _is_test(target: Path) -> bool:
    aliases = target / "aliases"
    hidden = aliases.exists() and "hidden" in aliases.read_text().split()
    return target.is_dir() and not hidden and not target.name.startswith(("prepare_", "setup_"))


def _provide_get_pip() -> None:
    if not GET_PIP.exists():
        GET_PIP.parent.mkdir(parents=True, exist_ok=True)
        temporary = GET_PIP.with_suffix(".new")
        temporary.write_text(GET_PIP_CODE)
        temporary.replace(GET_PIP)
