# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys

from . import collection, demo, stages, venv
from .commands import BUILD, CLUSTER, Failed, run, say, told

_PROGRAMS = {"bench": "benchmark", "chaos": "chaos"}
_NAMES = (*stages.STAGES, *stages.GROUPS)


def main() -> int:
    """Do what the arguments say; the exit status is 1 when that failed."""
    options = _parser().parse_args()
    try:
        if options.verb == "env":
            _print_environment()
        elif options.verb == "demo":
            demo.run_demo()
        elif options.verb == "install":
            say(f"installed in {collection.install(venv.ensure())}")
        elif options.verb == "format":
            run(venv.ensure() / "ruff", "format")
        elif options.verb in _PROGRAMS:
            stages.run_program(_PROGRAMS[options.verb], shlex.split(options.pass_on))
        elif options.verb == "clean":
            shutil.rmtree(BUILD, ignore_errors=True)
        else:
            words = shlex.split(options.pass_on)
            return 0 if stages.run_stages(options.stages or ["all"], words, refuse_skips=options.refuse_skips) else 1
    except (Failed, subprocess.CalledProcessError) as problem:
        say(f"error: {told(problem)}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 tests/dev")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("env", help="print shell exports that make the installed collection and the cluster usable")
    verbs.add_parser("install", help="build the tarball and install it")
    verbs.add_parser("demo", help="from nothing to a Pod that runs a delivered image")
    verbs.add_parser("format", help="format the Python files")
    verbs.add_parser("clean", help="delete what was built of this checkout")
    bench = verbs.add_parser("bench", help="measure pushes and pulls, on the cluster")
    chaos = verbs.add_parser("chaos", help="deliver with faults, on the cluster")
    test = verbs.add_parser("test", help="run checks")
    test.add_argument("stages", nargs="*", type=_stage, metavar="STAGE", help=f"of {', '.join(_NAMES)}; all by default")
    test.add_argument("--refuse-skips", action="store_true", help="a test that was skipped is a failure")
    for verb in (bench, chaos, test):
        verb.add_argument("--pass-on", default="", metavar="WORDS", help="arguments for what is run")
    return parser


def _stage(name: str) -> str:
    # Not by `choices`: up to Python 3.13, argparse then refuses to be given none.
    if name not in _NAMES:
        raise argparse.ArgumentTypeError(f"there is no stage {name!r}")
    return name


def _print_environment() -> None:
    programs = venv.ensure()
    collection.install(programs)
    # The cluster's own exports come first: the virtual environment's programs go before its PATH.
    sys.stdout.write(subprocess.run([*CLUSTER, "env"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f'export PATH={shlex.quote(str(programs))}:"$PATH"')
    print(f"export ANSIBLE_COLLECTIONS_PATH={shlex.quote(str(collection.INSTALLED))}")
