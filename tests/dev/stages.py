# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of the checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from cluster.errors import log

from . import ansible_test, collection, junit, pythons, venv
from .commands import BUILD, CHECKOUT, CLUSTER, IMAGES, path_with, run, run_and_print

RESULTS = BUILD / "results"
TRANSPORT_TESTS = "tests/unit/plugins/module_utils/transport"
SECRETS_TESTS = "tests/unit/plugins/modules/test_secrets.py"
PROGRESS_TESTS = "tests/unit/plugins/action/test_progress_action.py"
OPTIONS_TESTS = [
    f"tests/unit/plugins/module_utils/commands/test_{name}.py"
    for name in ("cluster_options", "image_entries", "numbers", "options")
]


@dataclass
class Context:
    """The environment and arguments of a run, which its stages share."""

    programs: Path
    copy: Path
    arguments: Sequence[str]
    write: Callable[[str], None] = log
    """Prints a line of a stage's output."""
    skipped: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder that contains ansible_collections with the copy."""
        return self.copy.parents[2]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program finds the copy of the collection and other programs."""
        return {
            "PATH": path_with([self.programs, *(path.parent for path in pythons.targets().values())]),
            "ANSIBLE_COLLECTIONS_PATH": str(self.root),
            "PYTHONPATH": str(self.root),
        }

    def run(self, program: str, *arguments: str | Path, cwd: Path | None = None, kubeconfig: str = "") -> None:
        """Run a program of the virtual environment on the copy of the collection."""
        environment = {**self.environment, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
        command = (self.programs / program, *arguments, *self.arguments)
        run_and_print(*command, cwd=cwd or self.copy, env=environment, write=self.write)


def _lint(program: str, *arguments: str) -> Callable[[Context], None]:
    def stage(context: Context) -> None:
        context.run(program, *arguments)

    return stage


def _mypy(context: Context) -> None:
    # Run mypy in the folder above ansible_collections, so that each module has only one name.
    folder = context.copy.relative_to(context.root)
    configuration = f"--config-file={folder / '.mypy.ini'}"
    context.run("mypy", configuration, folder / "plugins", folder / "tests", cwd=context.root)


def _imports(context: Context) -> None:
    context.run("lint-imports", context.copy / ".importlinter", "--no-cache", cwd=context.root)


def _sanity(context: Context) -> None:
    with ansible_test.results(context.copy) as results:
        context.run("ansible-test", "sanity", "--junit", *ansible_test.python_options(context.programs))
    context.skipped += junit.skipped(results / "junit")


def _unit(context: Context) -> None:
    _pytest(context, "unit", ["tests/unit"])


def _floor(context: Context) -> None:
    """Test the transport, secrets, options and progress with the oldest supported libraries and ansible-core."""
    oldest = replace(context, programs=venv.ensure(venv.FLOOR), arguments=())
    report = RESULTS / "floor.xml"
    options = ("-W", "default", f"--junitxml={report}", f"--ignore={TRANSPORT_TESTS}/test_third_party_clients.py")
    oldest.run("pytest", TRANSPORT_TESTS, SECRETS_TESTS, *OPTIONS_TESTS, PROGRESS_TESTS, *options)
    context.skipped += junit.skipped(report)


def _cluster(context: Context) -> None:
    run(*CLUSTER, "up")
    run(*IMAGES)


def _integration(context: Context) -> None:
    variables = ansible_test.integration_variables(context.copy, _integration_variables(context.copy))
    with variables, ansible_test.results(context.copy) as results:
        context.run("ansible-test", "integration")
    if not context.arguments:
        context.skipped += ansible_test.skipped_targets(context.copy, results)


def _live(name: str, *arguments: str) -> Callable[[Context], None]:
    def stage(context: Context) -> None:
        _pytest(context, name, ["tests/live", *arguments], _status()["kubeconfig"])

    return stage


def _chaos(context: Context) -> None:
    few = replace(context, arguments=context.arguments or _FEW_DELIVERIES)
    few.run("python", "tests/chaos")


def _chaos_prunes(context: Context) -> None:
    few = replace(context, arguments=context.arguments or _FEW_PRUNES)
    few.run("python", "tests/chaos/prunes")


def _charts(context: Context) -> None:
    _pytest(context, "charts", ["tests/charts"], _status()["kubeconfig"])


def _pytest(context: Context, name: str, arguments: Sequence[str], kubeconfig: str = "") -> None:
    report = RESULTS / f"{name}.xml"
    context.run("pytest", *arguments, f"--junitxml={report}", kubeconfig=kubeconfig)
    context.skipped += junit.skipped(report)


def _status() -> dict[str, Any]:
    status: dict[str, Any] = json.loads(run(*CLUSTER, "status", "--json", capture=True))
    return status


def _integration_variables(copy: Path) -> dict[str, Any]:
    status = _status()
    images = json.loads(run(*IMAGES, "--json", capture=True))
    return {
        "k8scr_inventory": status["inventory"],
        "k8scr_kubeconfig": status["kubeconfig"],
        "k8scr_images": images,
        "k8scr_nodes": status["nodes"],
        "k8scr_programs": status["bin"],
        "k8scr_tests": str(copy / "tests"),
        "registry_image": status["registry_image"],
    }


_FEW_DELIVERIES = ("--deliveries", "50", "--seed", "2")
_FEW_PRUNES = ("--prunes", "5", "--images", "50", "--seed", "2")
DOCUMENTED = ("--plugin-docs", "--validate-collection-refs", "all", "--disallow-unknown-collection-refs", ".")
LINT: dict[str, Callable[[Context], None]] = {
    "format": _lint("ruff", "format", "--check", "--diff", "--quiet", "."),
    "ruff": _lint("ruff", "check", "--quiet", "--output-format=concise", "."),
    "mypy": _mypy,
    "imports": _imports,
    "yamllint": _lint("yamllint", "--strict", "."),
    "ansible-lint": _lint("ansible-lint", "-q"),
    "docs": _lint("antsibull-docs", "lint-collection-docs", *DOCUMENTED),
    "changelog": _lint("antsibull-changelog", "lint"),
}
WITHOUT_CLUSTER: dict[str, Callable[[Context], None]] = {
    **LINT,
    "sanity": _sanity,
    "unit": _unit,
    "floor": _floor,
}
STAGES: dict[str, Callable[[Context], None]] = {
    **WITHOUT_CLUSTER,
    "cluster": _cluster,
    "chaos": _chaos,
    "chaos-prunes": _chaos_prunes,
    "integration": _integration,
    "live-registries": _live("live-registries", "-m", "own_registries"),
    "live-concurrent": _live("live-concurrent", "-m", "concurrent"),
    "live-others": _live("live-others", "-m", "not own_registries and not concurrent"),
}
EXTRA: dict[str, Callable[[Context], None]] = {"live": _live("live"), "charts": _charts}
"""Stages that run only if they are named."""
GROUPS = {"lint": tuple(LINT), "all": tuple(STAGES)}


def run_program(name: str, arguments: Sequence[str]) -> None:
    """Run a program in ``tests/`` with the current state of the collection."""
    context = Context(venv.ensure(), collection.copy(), arguments)
    # Relative paths in the arguments are relative to the checkout.
    run(context.programs / "python", context.copy / "tests" / name, *arguments, cwd=CHECKOUT, env=context.environment)
