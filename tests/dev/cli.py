# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ``python3 tests/dev``."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys

from cluster.errors import log

from . import collection, demo, runner, stages, venv
from .commands import BUILD, CLUSTER, Failed, describe, run

_PROGRAMS = {"bench": "benchmark", "captures": "captures", "chaos": "chaos", "chaos-prunes": "chaos/prunes"}
_NAMES = (*stages.STAGES, *stages.EXTRA, *stages.GROUPS)


def main() -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args()
    try:
        if options.command == "env":
            _print_environment()
        elif options.command == "demo":
            demo.run_demo()
        elif options.command == "install":
            log(f"installed in {collection.install(venv.ensure())}")
        elif options.command == "format":
            run(venv.ensure() / "ruff", "format")
        elif options.command in _PROGRAMS:
            stages.run_program(_PROGRAMS[options.command], shlex.split(options.pass_on))
        elif options.command == "clean":
            shutil.rmtree(BUILD, ignore_errors=True)
        else:
            arguments = shlex.split(options.pass_on)
            passed = runner.run_stages(options.stages or ["all"], arguments, fail_on_skips=options.fail_on_skips)
            return 0 if passed else 1
    except (Failed, subprocess.CalledProcessError) as error:
        log(f"error: {describe(error)}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 tests/dev")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("env", help="print shell exports for the cluster, the tools and the installed collection")
    commands.add_parser("install", help="build the collection and install it")
    commands.add_parser("demo", help="start a cluster, deliver images into it, and run one of them")
    commands.add_parser("format", help="format the Python files")
    commands.add_parser("clean", help="delete the build results of this checkout")
    bench = commands.add_parser("bench", help="run the benchmarks on the cluster")
    captures = commands.add_parser("captures", help="write the pictures of terminals in the documentation")
    chaos = commands.add_parser("chaos", help="run transfers with faults on the cluster")
    prunes = commands.add_parser("chaos-prunes", help="run prunes with faults on the cluster")
    test = commands.add_parser("test", help="run checks")
    test.add_argument(
        "stages", nargs="*", type=_stage, metavar="STAGE", help=f"one of {', '.join(_NAMES)} (default: all)"
    )
    test.add_argument("--fail-on-skips", action="store_true", help="fail if a test was skipped")
    for command in (bench, captures, chaos, prunes, test):
        command.add_argument("--pass-on", default="", metavar="ARGUMENTS", help="arguments for the tools")
    return parser


def _stage(name: str) -> str:
    # With `choices`, argparse requires at least one stage up to Python 3.13.
    if name not in _NAMES:
        raise argparse.ArgumentTypeError(f"unknown stage {name!r}")
    return name


def _print_environment() -> None:
    programs = venv.ensure()
    collection.install(programs)
    # After the cluster's exports: the virtual environment's programs come first in PATH.
    sys.stdout.write(subprocess.run([*CLUSTER, "env"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f'export PATH={shlex.quote(str(programs))}:"$PATH"')
    print(f"export ANSIBLE_COLLECTIONS_PATH={shlex.quote(str(collection.INSTALLED))}")
