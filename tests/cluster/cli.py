# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ``python3 tests/cluster``."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING

from . import audit, catalogue, cluster, layout, newer_debian, packages, programs, selftest, status, users
from .errors import ClusterError, log

if TYPE_CHECKING:
    from collections.abc import Sequence

# The exit statuses of `status`.
_EXIT_STATUSES = {"up": 0, "partly": 1, "down": 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        exit_status: int = options.handler(options)
    except ClusterError as error:
        log(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        log("interrupted: run `up` to resume, or `down` to remove the cluster")
        return 130
    except BrokenPipeError:
        return 0
    return exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/cluster", description="A two-node Kubernetes cluster on this machine, for tests (see README.md)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("up", help="start the cluster, or its missing components")
    command.set_defaults(handler=_up)
    command = commands.add_parser("down", help="stop the cluster and remove all of its files")
    command.set_defaults(handler=_down)
    command = commands.add_parser(
        "status", help="print the state; the exit status is 0 if up, 1 if partly up, 3 if down"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(handler=_status)
    command = commands.add_parser("env", help="print shell exports of KUBECONFIG and PATH")
    command.set_defaults(handler=_env)

    for name, handler, text in (
        ("start", _start, "start or resume a component"),
        ("stop", _stop, "stop a component"),
        ("restart", _restart, "stop and start a component"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("component", help="for example etcd, kubelet@node-2, or node-2 for the whole node")
        if name != "start":
            command.add_argument("--signal", default="TERM", type=_signal, help="TERM (default), KILL, STOP, …")
        command.set_defaults(handler=handler)

    command = commands.add_parser("audit", help="print the audit events of pods/proxy as JSON lines")
    command.add_argument("--all", action="store_true", help="print the events of all requests but the cluster's own")
    command.set_defaults(handler=_audit)
    command = commands.add_parser("user", help="create a user and print the path of its kubeconfig")
    command.add_argument("name")
    command.add_argument("--group", action="append", default=[], help="a group of the user; can be repeated")
    command.set_defaults(handler=_user)
    command = commands.add_parser("programs", help="find, download or build programs, and print their paths")
    command.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(catalogue.PROGRAMS)}")
    command.set_defaults(handler=_programs)
    command = commands.add_parser(
        "packages", help="install the Debian packages of the cluster, the images and the tests"
    )
    command.add_argument(
        "--remove", action="store_true", help="remove the packages that only the tests need (in CI only)"
    )
    command.set_defaults(handler=_packages)
    command = commands.add_parser(
        "selftest", help="take the cluster down, and test `up` and `down` with killed and interrupted processes"
    )
    command.set_defaults(handler=_selftest)
    return parser


def _signal(name: str) -> signal.Signals:
    """Return the signal with this name, with or without SIG."""
    try:
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError:
        raise argparse.ArgumentTypeError(f"unknown signal {name!r}") from None


def _up(_options: argparse.Namespace) -> int:
    started = time.monotonic()
    cluster.up()
    log(f"the cluster is up ({time.monotonic() - started:.1f} s); KUBECONFIG={layout.KUBECONFIG}")
    return 0


def _down(_options: argparse.Namespace) -> int:
    log("the cluster is down" if cluster.down() else "the cluster was not up")
    return 0


def _status(options: argparse.Namespace) -> int:
    collected = status.collect()
    print(json.dumps(collected, indent=2) if options.json else "\n".join(status.lines(collected)))
    return _EXIT_STATUSES[collected["state"]]


def _env(_options: argparse.Namespace) -> int:
    print(f"export KUBECONFIG={shlex.quote(str(layout.KUBECONFIG))}")
    print(f'export PATH={shlex.quote(str(layout.BIN))}:"$PATH"')
    return 0


def _start(options: argparse.Namespace) -> int:
    cluster.start(options.component)
    return 0


def _stop(options: argparse.Namespace) -> int:
    cluster.stop(options.component, options.signal)
    return 0


def _restart(options: argparse.Namespace) -> int:
    cluster.stop(options.component, options.signal)
    cluster.start(options.component)
    return 0


def _audit(options: argparse.Namespace) -> int:
    for event in audit.events() if options.all else audit.proxy_events():
        sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")
    return 0


def _user(options: argparse.Namespace) -> int:
    print(users.make(options.name, options.group))
    return 0


def _programs(options: argparse.Namespace) -> int:
    names = options.names or [program.name for program in catalogue.NEEDED]
    for path in programs.ensure(names).values():
        print(path)
    return 0


def _packages(options: argparse.Namespace) -> int:
    if options.remove:
        packages.remove()
    else:
        packages.ensure(packages.ALL)
        newer_debian.ensure(packages.NEWER)
    return 0


def _selftest(_options: argparse.Namespace) -> int:
    return selftest.run()
