# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-test needs to be told, and what it says of tests that it left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import pythons as machine

# ansible-test fetches a script that installs pip into its virtual environments, from a site that
# machines with nothing but package registries do not reach. This takes the script's place: the
# same version of pip, by means of what every Python has.
PIP_VERSION = "25.2"
GET_PIP = Path.home() / ".ansible/test/cache" / f"get_pip_{PIP_VERSION.replace('.', '_')}.py"
GET_PIP_CODE = """\
import subprocess
import sys

packages = [word for word in sys.argv[1:] if not word.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet"] + packages)
"""


def pythons(programs: Path) -> list[str]:
    """The options that have a check run with each Python of this machine."""
    _provide_get_pip()
    options = ["--controller", f"origin:python=default@{programs / 'python'}"]
    for version, path in machine.targets().items():
        options += ["--target-python", f"{version}@{path}"]
    return options


@contextmanager
def integration_variables(copy: Path, variables: Mapping[str, object]) -> Iterator[None]:
    """Hand variables to the integration tests; the file is not left for the linters to find."""
    file = copy / "tests/integration/integration_config.yml"
    file.write_text(json.dumps(variables, indent=2))
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def results(copy: Path) -> Iterator[Path]:
    """The folder that ansible-test is about to write its results to."""
    folder = copy / "tests/output"
    for kind in ("junit", "data"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    yield folder


def targets_left_out(copy: Path, written: Path) -> list[str]:
    """The integration targets that are tests and that did not run."""
    ran = {name for file in written.glob("data/integration-*.json") for name in json.loads(file.read_text())["targets"]}
    targets = (folder for folder in sorted((copy / "tests/integration/targets").iterdir()) if _is_test(folder))
    return [f"integration {folder.name}: ansible-test left it out" for folder in targets if folder.name not in ran]


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
