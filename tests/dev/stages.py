# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the stages of the checks, and prints their results and times."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from cluster.errors import log

from . import ansible_test, collection, junit, pythons, venv
from .commands import BUILD, CHECKOUT, CLUSTER, IMAGES, Failed, describe, path_with, run, run_and_print

RESULTS = BUILD / "results"
TRANSPORT_TESTS = "tests/unit/plugins/module_utils/transport"
SECRETS_TESTS = "tests/unit/plugins/modules/test_secrets.py"
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
    skipped: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program finds the copy of the collection and other programs."""
        return {
            "PATH": path_with([self.programs, *(path.parent for path in pythons.targets().values())]),
            "ANSIBLE_COLLECTIONS_PATH": str(collection.SOURCE_ROOT),
            "PYTHONPATH": str(collection.SOURCE_ROOT),
        }

    def run(self, program: str, *arguments: str | Path, cwd: Path | None = None, kubeconfig: str = "") -> None:
        """Run a program of the virtual environment on the copy of the collection."""
        environment = {**self.environment, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
        run_and_print(self.programs / program, *arguments, *self.arguments, cwd=cwd or self.copy, env=environment)


def _lint(program: str, *arguments: str) -> Callable[[Context], None]:
    def stage(context: Context) -> None:
        context.run(program, *arguments)

    return stage


def _mypy(context: Context) -> None:
    # Run mypy in the folder above ansible_collections, so that each module has only one name.
    folder = context.copy.relative_to(collection.SOURCE_ROOT)
    configuration = f"--config-file={folder / '.mypy.ini'}"
    context.run("mypy", configuration, folder / "plugins", folder / "tests", cwd=collection.SOURCE_ROOT)


def _imports(context: Context) -> None:
    context.run("lint-imports", context.copy / ".importlinter", "--no-cache", cwd=collection.SOURCE_ROOT)


def _sanity(context: Context) -> None:
    with ansible_test.results(context.copy) as results:
        context.run("ansible-test", "sanity", "--junit", *ansible_test.python_options(context.programs))
    context.skipped += junit.skipped(results / "junit")


def _unit(context: Context) -> None:
    _pytest(context, "unit")


def _floor(context: Context) -> None:
    """Test the transport and the modules' handling of secrets with the oldest supported libraries and ansible-core."""
    oldest = replace(context, programs=venv.ensure(venv.FLOOR), arguments=())
    report = RESULTS / "floor.xml"
    options = ("-W", "default", f"--junitxml={report}", f"--ignore={TRANSPORT_TESTS}/test_third_party_clients.py")
    oldest.run("pytest", TRANSPORT_TESTS, SECRETS_TESTS, *OPTIONS_TESTS, *options)
    context.skipped += junit.skipped(report)


def _cluster(context: Context) -> None:
    run(*CLUSTER, "up")
    run(*IMAGES)


def _integration(context: Context) -> None:
    variables = ansible_test.integration_variables(context.copy, _integration_variables())
    with variables, ansible_test.results(context.copy) as results:
        context.run("ansible-test", "integration")
    if not context.arguments:
        context.skipped += ansible_test.skipped_targets(context.copy, results)


def _live(context: Context) -> None:
    _pytest(context, "live", _status()["kubeconfig"])


def _chaos(context: Context) -> None:
    few = replace(context, arguments=context.arguments or _FEW_DELIVERIES)
    few.run("python", "tests/chaos")


def _chaos_prunes(context: Context) -> None:
    few = replace(context, arguments=context.arguments or _FEW_PRUNES)
    few.run("python", "tests/chaos/prunes")


def _charts(context: Context) -> None:
    _pytest(context, "charts", _status()["kubeconfig"])


def _pytest(context: Context, folder: str, kubeconfig: str = "") -> None:
    report = RESULTS / f"{folder}.xml"
    context.run("pytest", f"tests/{folder}", f"--junitxml={report}", kubeconfig=kubeconfig)
    context.skipped += junit.skipped(report)


def _status() -> dict[str, Any]:
    status: dict[str, Any] = json.loads(run(*CLUSTER, "status", "--json", capture=True))
    return status


def _integration_variables() -> dict[str, Any]:
    status = _status()
    images = json.loads(run(*IMAGES, "--json", capture=True))
    return {
        "k8scr_inventory": status["inventory"],
        "k8scr_kubeconfig": status["kubeconfig"],
        "k8scr_images": images,
        "k8scr_nodes": status["nodes"],
        "k8scr_programs": status["bin"],
        "k8scr_tests": str(collection.COPY / "tests"),
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
STAGES: dict[str, Callable[[Context], None]] = {
    **LINT,
    "sanity": _sanity,
    "unit": _unit,
    "floor": _floor,
    "cluster": _cluster,
    "integration": _integration,
    "live": _live,
    "chaos": _chaos,
    "chaos-prunes": _chaos_prunes,
}
EXTRA: dict[str, Callable[[Context], None]] = {"charts": _charts}
"""Stages that run only if they are named."""
GROUPS = {"lint": tuple(LINT), "all": tuple(STAGES)}


def run_program(name: str, arguments: Sequence[str]) -> None:
    """Run a program in ``tests/`` with the current state of the collection."""
    context = Context(venv.ensure(), collection.copy(), arguments)
    # Relative paths in the arguments are relative to the checkout.
    run(context.programs / "python", context.copy / "tests" / name, *arguments, cwd=CHECKOUT, env=context.environment)


def run_stages(names: Sequence[str], arguments: Sequence[str] = (), *, fail_on_skips: bool) -> bool:
    """Run all of the stages, even after a failure; return whether all passed."""
    context = Context(venv.ensure(), collection.copy(), arguments)
    shutil.rmtree(RESULTS, ignore_errors=True)
    times: dict[str, float] = {}
    failed: dict[str, str] = {}
    for stage in (stage for name in names for stage in GROUPS.get(name, (name,))):
        log(f"==== {stage}")
        start = time.monotonic()
        try:
            {**STAGES, **EXTRA}[stage](context)
        except (subprocess.CalledProcessError, Failed) as error:
            failed[stage] = describe(error)
        times[stage] = time.monotonic() - start
    if context.skipped:
        log("\n".join(f"skipped: {test}" for test in context.skipped))
        if fail_on_skips:
            failed["no skips"] = f"{len(context.skipped)} tests were skipped"
    # Print failures last, where users look first.
    for stage, last_lines in failed.items():
        log(f"==== {stage} failed:\n{last_lines}")
    outcome = f"FAILED: {', '.join(failed)}" if failed else "all passed"
    per_stage = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in times.items())
    log(f"==== {outcome}; {sum(times.values()):.0f} seconds: {per_stage}")
    return not failed
