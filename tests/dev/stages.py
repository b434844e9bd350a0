# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks, one after the other, and what they took."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from . import ansible_test, collection, junit, pythons, venv
from .commands import BUILD, CHECKOUT, CLUSTER, IMAGES, Failed, path_with, run, run_aloud, say, told

RESULTS = BUILD / "results"
TRANSPORT_TESTS = "tests/unit/plugins/module_utils/transport"
SECRETS_TESTS = "tests/unit/plugins/modules/test_secrets.py"
OPTIONS_TESTS = [
    f"tests/unit/plugins/module_utils/commands/test_{name}.py"
    for name in ("cluster_options", "image_entries", "numbers")
]


@dataclass
class Context:
    """What the stages of one run share."""

    programs: Path
    copy: Path
    words: Sequence[str]
    skipped: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a program finds the copy of the collection, and what it runs itself."""
        return {
            "PATH": path_with([self.programs, *(path.parent for path in pythons.targets().values())]),
            "ANSIBLE_COLLECTIONS_PATH": str(collection.SOURCE_ROOT),
            "PYTHONPATH": str(collection.SOURCE_ROOT),
        }

    def run(self, program: str, *arguments: str | Path, cwd: Path | None = None, kubeconfig: str = "") -> None:
        """Run a program of the virtual environment on the copy of the collection."""
        environment = {**self.environment, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
        run_aloud(self.programs / program, *arguments, *self.words, cwd=cwd or self.copy, env=environment)


def _lint(program: str, *arguments: str) -> Callable[[Context], None]:
    def stage(context: Context) -> None:
        context.run(program, *arguments)

    return stage


def _mypy(context: Context) -> None:
    # In the folder above ansible_collections, for a file's module to have one name only.
    folder = context.copy.relative_to(collection.SOURCE_ROOT)
    configuration = f"--config-file={folder / '.mypy.ini'}"
    context.run("mypy", configuration, folder / "plugins", folder / "tests", cwd=collection.SOURCE_ROOT)


def _imports(context: Context) -> None:
    context.run("lint-imports", context.copy / ".importlinter", "--no-cache", cwd=collection.SOURCE_ROOT)


def _sanity(context: Context) -> None:
    with ansible_test.results(context.copy) as results:
        context.run("ansible-test", "sanity", "--junit", *ansible_test.pythons(context.programs))
    context.skipped += junit.skipped(results / "junit")


def _unit(context: Context) -> None:
    _pytest(context, "unit")


def _floor(context: Context) -> None:
    """The transport and the frame of modules, with the oldest libraries and the oldest ansible-core."""
    oldest = replace(context, programs=venv.ensure(venv.FLOOR), words=())
    report = RESULTS / "floor.xml"
    options = ("-W", "default", f"--junitxml={report}", f"--ignore={TRANSPORT_TESTS}/test_foreign_clients.py")
    oldest.run("pytest", TRANSPORT_TESTS, SECRETS_TESTS, *OPTIONS_TESTS, *options)
    context.skipped += junit.skipped(report)


def _cluster(context: Context) -> None:
    run(*CLUSTER, "up")
    run(*IMAGES)


def _integration(context: Context) -> None:
    variables = ansible_test.integration_variables(context.copy, _integration_variables())
    with variables, ansible_test.results(context.copy) as results:
        context.run("ansible-test", "integration")
    if not context.words:
        context.skipped += ansible_test.targets_left_out(context.copy, results)


def _live(context: Context) -> None:
    _pytest(context, "live", _status()["kubeconfig"])


def _chaos(context: Context) -> None:
    few = replace(context, words=context.words or _FEW_DELIVERIES)
    few.run("python", "tests/chaos")


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
}
GROUPS = {"lint": tuple(LINT), "all": tuple(STAGES)}


def run_program(name: str, words: Sequence[str]) -> None:
    """Run one of the programs in ``tests/``, with the collection as it stands."""
    context = Context(venv.ensure(), collection.copy(), words)
    # A folder that the words name is the caller's.
    run(context.programs / "python", context.copy / "tests" / name, *words, cwd=CHECKOUT, env=context.environment)


def run_stages(names: Sequence[str], words: Sequence[str] = (), *, refuse_skips: bool) -> bool:
    """Run each of the stages, whether or not others failed; true if all passed."""
    context = Context(venv.ensure(), collection.copy(), words)
    shutil.rmtree(RESULTS, ignore_errors=True)
    times: dict[str, float] = {}
    failed: dict[str, str] = {}
    for stage in (stage for name in names for stage in GROUPS.get(name, (name,))):
        say(f"==== {stage}")
        start = time.monotonic()
        try:
            STAGES[stage](context)
        except (subprocess.CalledProcessError, Failed) as problem:
            failed[stage] = told(problem)
        times[stage] = time.monotonic() - start
    if context.skipped:
        say("\n".join(f"skipped: {test}" for test in context.skipped))
        if refuse_skips:
            failed["no skips"] = f"{len(context.skipped)} were skipped"
    # At the end, where it is read first: what is between may be long.
    for stage, last_lines in failed.items():
        say(f"==== {stage} failed:\n{last_lines}")
    outcome = f"FAILED: {', '.join(failed)}" if failed else "all passed"
    took = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in times.items())
    say(f"==== {outcome}; {sum(times.values()):.0f} seconds: {took}")
    return not failed
