# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell scripts that start, follow and end a background job on a host, and their output.

They need a POSIX shell, ``setsid``, and ``head``, ``tail`` and ``find`` as in GNU, BSD or BusyBox. A job has a private
folder in the folder for asynchronous jobs of Ansible: ``in`` (the input, until it was opened), ``out``, ``err``,
``progress``, ``run/pid`` (the process group), and ``rc``, the exit code, after the end.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.decimal import parse_decimal

LONGEST_WAIT = 15.0
"""Seconds that a script waits for news."""
_MOST_PROGRESS = 64 << 10
"""Bytes of the progress file that one script returns."""
_DAYS_TO_KEEP = 7
"""Days after which the folder of a job whose controller did not return is removed."""

_NEWLINE = "\036"
"""Separates the lines of a script. csh, as the login shell of a user, runs each line of a quoted text as a command."""
_RUN_LINES = r'eval "$(printf %s "$1" | tr "\036" "\n")"'

_FUNCTIONS = r"""
pause() { sleep "$1" 2>/dev/null || { sleep 1; false; }; }
say() { printf "\n%s %s\n" "$token" "$*"; }
refuse() { rm -rf "$job" 2>/dev/null; say state refused "$(printf %s "$*" | tr "\n\r" "  ")"; exit 0; }
find_pid() {
  tick=0
  while [ ! -f "$job/run/pid" ] && [ -d "$job/run" ] && [ "$tick" -lt 20 ]; do pause 0.1; tick=$((tick + 1)); done
  pid=$(cat "$job/run/pid" 2>/dev/null)
}
is_alive() {
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
  { tr "\0" " " <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } 2>/dev/null | grep -q -e "$token"
}
size() { if [ -f "$job/progress" ]; then wc -c <"$job/progress"; else echo 0; fi; }
follow() {
  tick=0
  while [ ! -f "$job/rc" ] && [ -d "$job" ] && [ "$tick" -lt "$ticks" ]; do
    if [ "$tick" -ge "$quiet" ] && [ "$(size)" -gt "$known" ]; then break; fi
    if [ -n "$pid" ] && ! kill -0 "$pid" 2>/dev/null; then break; fi
    pause "$step" || tick=$((tick + ticks_of_second - 1))
    tick=$((tick + 1))
  done
  if [ -f "$job/rc" ]; then state=done; else state=running; fi
  count=$(($(size) - offset))
  if [ "$count" -gt "$most" ]; then count=$most; state=running; fi
  say progress "$((count))"
  if [ "$count" -gt 0 ]; then tail -c "+$((offset + 1))" "$job/progress" | head -c "$((count))"; fi
  if [ "$state" = done ]; then
    say state done "$(cat "$job/rc")" && cat "$job/err" && say out && cat "$job/out" &&
      if [ "$tick" -lt "$soon" ]; then say end removed; else say end kept; fi
  else
    say state running
    false
  fi
}
"""

_START = r"""
trap "" HUP
if [ -d "$job" ]; then say state unknown; exit 0; fi
error=$( (umask 077 && mkdir -p "$folder" && mkdir "$job" "$job/new") 2>&1) || refuse "$error"
command -v setsid >/dev/null || refuse "the host has no program setsid"
(umask 077 && : >"$job/out" && : >"$job/err" && head -c 65536 /dev/zero >"$job/new/test") 2>/dev/null ||
  refuse "cannot write to $job"
rm -f "$job/new/test"
find "$folder" -maxdepth 1 -type d -name "$names" -mtime "+$days" -exec rm -rf {} + 2>/dev/null
input=/dev/null
if [ "$input_size" -gt 0 ]; then
  input=$job/in
  (umask 077 && cat >"$input") 2>/dev/null
  [ "$(wc -c <"$input")" -eq "$input_size" ] || refuse "the module did not arrive completely"
fi
mv "$job/new" "$job/run" 2>/dev/null || { say state unknown; exit 0; }
setsid /bin/sh -c "$runner" "$job" "$input" </dev/null >/dev/null 2>&1 &
pid=
if follow && [ "$tick" -lt "$soon" ]; then rm -rf "$job"; fi
"""

_RUNNER = r"""
echo "$$" >"$0/run/pid.new"
mv "$0/run/pid.new" "$0/run/pid"
exec 3<"$1"
rm -f "$0/in"
{{ {command}
}} <&3 3<&- >"$0/out" 2>"$0/err"
echo "$?" >"$0/rc.new"
mv "$0/rc.new" "$0/rc"
"""

_FOLLOW = r"""
find_pid
if [ ! -d "$job" ]; then
  say state missing
elif [ "$may_not_run" = 1 ] && mv "$job/new" "$job/old" 2>/dev/null; then
  rm -rf "$job"
  say state missing
elif ! is_alive && [ ! -f "$job/rc" ]; then
  say state dead
else
  follow
fi
"""

_STOP = r"""
tree() {
  { ps -A -o pid= -o ppid= 2>/dev/null || ps -o pid,ppid; } | awk -v root="$pid" '
    { parent[$1] = $2 }
    END {
      for (process in parent) {
        up = process
        while (up != root && up in parent) up = parent[up]
        if (up == root) print process
      }
    }
  '
}
# kill of dash and BusyBox does not take "--" after each option.
any_alive() {
  for process in $processes; do if kill -0 "$process" 2>/dev/null; then return 0; fi; done
  return 1
}
if mkdir "$job" 2>/dev/null; then say state stopped; exit 0; fi
if mv "$job/new" "$job/old" 2>/dev/null; then rm -rf "$job"; say state stopped; exit 0; fi
find_pid
if is_alive; then
  processes="-$pid $(tree 2>/dev/null)"
  kill -TERM $processes 2>/dev/null
  tick=0
  while any_alive && [ "$tick" -lt 30 ]; do pause 0.1; tick=$((tick + 1)); done
  kill -KILL $processes 2>/dev/null
fi
rm -rf "$job"
say state stopped
"""


@dataclass(frozen=True)
class Output:
    """What a script reported.

    Attributes:
        state: ``running``, ``done``, ``refused`` (not started), ``unknown`` (another start was at it), ``missing`` (no
            such job), ``dead`` (ended without an exit code) or ``stopped``.
        reason: Why it was not started, if ``refused``.
        exit_code: The exit code of the command, after ``done``.
        progress: New bytes of the progress file.
        count: How many bytes of it they are on the host; a terminal may have changed line ends.
        out: The output of the command, after ``done``.
        err: Its error output.
        is_removed: Whether the files of the job were removed.
    """

    state: str
    reason: str = ""
    exit_code: int = 0
    progress: bytes = b""
    count: int = 0
    out: str = ""
    err: str = ""
    is_removed: bool = False


@dataclass(frozen=True)
class JobScript:
    """Scripts for one job.

    Args:
        folder: The folder for asynchronous jobs on the host; a leading ``~`` is the home folder of the job's user.
        name: The unguessable name of the job: ``k8scr-`` and 32 hexadecimal digits.
    """

    folder: str
    name: str

    @property
    def progress_path(self) -> str:
        """The progress file, as a word of the command of the job."""
        return '"$0"/progress'

    def start(self, command: str, input_size: int) -> str:
        """Return the script that starts ``command``, unless the job exists, and follows it.

        Args:
            command: A command of the shell, with its environment.
            input_size: Bytes of input that the script gets and passes on; 0 for none.
        """
        values = {
            "input_size": input_size,
            "days": _DAYS_TO_KEEP,
            # Users may have other files there with a similar name.
            "names": "k8scr-" + "[0-9a-f]" * 32,
            "runner": _RUNNER.format(command=command),
            # Short tasks end with this script: it looks often, waits before it returns progress, and removes the job.
            "ticks": round(LONGEST_WAIT / 0.05),
            "quiet": 20,
            "soon": 40,
            "step": "0.05",
            "ticks_of_second": 20,
            # The line with the process group alone is no progress.
            "known": 32,
            "offset": 0,
        }
        return self._script(values, _START)

    def follow(self, offset: int, may_not_run: bool = False) -> str:
        """Return the script that waits for progress after ``offset`` or for the end.

        Args:
            offset: Bytes of the progress file that were read.
            may_not_run: Whether it is unknown if the command was started. If it was not, the script prevents it.
        """
        values = {
            "ticks": round(LONGEST_WAIT / 0.2),
            "quiet": 5,
            "step": "0.2",
            "ticks_of_second": 5,
            "known": offset,
            "offset": offset,
            "soon": 0,
            "may_not_run": 1 if may_not_run else 0,
        }
        return self._script(values, _FOLLOW)

    def stop(self) -> str:
        """Return the script that ends the job, also one that is about to start, and removes its files."""
        return self._script({}, _STOP)

    def remove(self) -> str:
        """Return the script that removes the files of a finished job."""
        return self._script({}, 'rm -rf "$job"\nsay state stopped\n')

    def _script(self, values: dict[str, object], body: str) -> str:
        # The shell expands the home folder only if its name and the slash after it are not quoted.
        home = re.fullmatch(r"(~[A-Za-z0-9._-]*/?)(.*)", self.folder, re.DOTALL)
        folder = f"{home[1]}{shlex.quote(home[2])}" if home else shlex.quote(self.folder)
        lines = [f"folder={folder}", f"token={self.name}", 'job="$folder/$token"', f"most={_MOST_PROGRESS}"]
        lines += [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
        text = ("\n".join(lines) + _FUNCTIONS + body).replace("\n", _NEWLINE)
        return f"/bin/sh -c {shlex.quote(_RUN_LINES)} sh {shlex.quote(text)}"

    def read(self, text: str) -> Output | None:
        """Read the output of a script; ``None`` if it is incomplete, because the connection was lost."""
        parts = re.split(rf"(?:\r?\n|^){self.name} (progress|state|out|end)(?: ([^\r\n]*))?\r?\n", text)
        sections = {parts[i]: (parts[i + 1] or "", parts[i + 2]) for i in range(1, len(parts) - 2, 3)}
        if "state" not in sections:
            return None
        count, progress = sections.get("progress", ("0", ""))
        state, _space, detail = sections["state"][0].partition(" ")
        if state == "done" and "end" not in sections:
            return None
        return Output(
            state,
            reason=detail if state == "refused" else "",
            exit_code=parse_decimal(detail) or 0 if state == "done" else 0,
            progress=progress.replace("\r\n", "\n").encode(),
            count=parse_decimal(count) or 0,
            out=sections.get("out", ("", ""))[1],
            err=sections["state"][1],
            is_removed=sections.get("end", ("", ""))[0] == "removed",
        )
