# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING

from . import audit, catalogue, cluster, layout, newer_debian, packages, programs, selftest, status, users
from .errors import ClusterError, say

if TYPE_CHECKING:
    from collections.abc import Sequence

# `status` tells scripts too.
_STATUS_CODES = {"up": 0, "partly": 1, "down": 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a verb; the exit status comes back."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.carry_out(options)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; `up` goes on from here, and `down` takes all of it away")
        return 130
    except BrokenPipeError:
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/cluster", description="A two-node Kubernetes on this machine, for tests (see README.md)."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("up", help="bring it up, or bring back what is missing of it")
    verb.set_defaults(carry_out=_up)
    verb = verbs.add_parser("down", help="take it down and leave nothing")
    verb.set_defaults(carry_out=_down)
    verb = verbs.add_parser("status", help="say how it is (exit status 0 up, 1 partly, 3 down)")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(carry_out=_status)
    verb = verbs.add_parser("env", help="print shell exports of KUBECONFIG and PATH")
    verb.set_defaults(carry_out=_env)

    for name, carry_out, text in (
        ("start", _start, "start a component, or wake it"),
        ("stop", _stop, "stop a component"),
        ("restart", _restart, "stop a component and start it again"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("component", help="such as etcd, kubelet@node-2, or node-2 itself")
        if name != "start":
            verb.add_argument("--signal", default="TERM", type=_signal, help="TERM (default), KILL, STOP, …")
        verb.set_defaults(carry_out=carry_out)

    verb = verbs.add_parser("audit", help="print the audit events of pods/proxy, a JSON line each")
    verb.add_argument("--all", action="store_true", help="of everything that was requested")
    verb.set_defaults(carry_out=_audit)
    verb = verbs.add_parser("user", help="make a user; prints the path of its kubeconfig")
    verb.add_argument("name")
    verb.add_argument("--group", action="append", default=[], help="can be given again")
    verb.set_defaults(carry_out=_user)
    verb = verbs.add_parser("programs", help="make sure that programs are there; prints their paths")
    verb.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(catalogue.PROGRAMS)}")
    verb.set_defaults(carry_out=_programs)
    verb = verbs.add_parser("packages", help="install the Debian packages of the cluster, the images and the tests")
    verb.add_argument("--remove", action="store_true", help="remove them instead, in CI only")
    verb.set_defaults(carry_out=_packages)
    verb = verbs.add_parser("selftest", help="take it down, and try hard to make `up` and `down` fail")
    verb.set_defaults(carry_out=_selftest)
    return parser


def _signal(name: str) -> signal.Signals:
    """The signal of this name, with or without SIG."""
    try:
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError:
        raise argparse.ArgumentTypeError(f"no signal {name!r}") from None


def _up(_options: argparse.Namespace) -> int:
    started = time.monotonic()
    cluster.up()
    say(f"the cluster is up ({time.monotonic() - started:.1f} s); KUBECONFIG={layout.KUBECONFIG}")
    return 0


def _down(_options: argparse.Namespace) -> int:
    say("the cluster is down" if cluster.down() else "the cluster was not up")
    return 0


def _status(options: argparse.Namespace) -> int:
    collected = status.collect()
    print(json.dumps(collected, indent=2) if options.json else "\n".join(status.lines(collected)))
    return _STATUS_CODES[collected["state"]]


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
