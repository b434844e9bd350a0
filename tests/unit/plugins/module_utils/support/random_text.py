# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random texts and the layout that random configuration files of all formats share."""

from __future__ import annotations

from random import Random

_WORDS = ["", "a", "Petra", "/etc/ssl", "[x]", "# no", "C:\\x", "https://a.example.com", "http://[fd00::1]:5001"]
_ODD = [*"#[]{}=,:%'\"\\ \t", "\u2028", "\u2029", "\x85", "\xe9", "\U0001f980"]
YAML_BREAKS = "\u2028\u2029\x85"
"""Line breaks of YAML 1.1 that are none in TOML."""


def odd_text(random: Random, line_breaks: bool = False) -> str:
    """Return a text that looks like other syntax, or has unusual characters."""
    odd = [*_ODD, "\n"] if line_breaks else _ODD
    parts = [random.choice(_WORDS), *random.sample(odd, random.choice([0, 0, 1, 3]))]
    random.shuffle(parts)
    return "".join(parts)


class LayoutWriter:
    """Writes what is between the entries of a file."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def comment(self) -> str:
        """Return a comment, which may look like an entry."""
        return (
            "#"
            + self.random.choice(["", " "])
            + odd_text(self.random)
            + self.random.choice(["", " [a]", " b: {", " '''"])
        )

    def line_end(self) -> str:
        """Return the end of a line with an entry."""
        return self.random.choice(["", "", " "]) + (f" {self.comment()}" if self.random.random() < 0.2 else "") + "\n"

    def gap(self) -> str:
        """Return blank lines and comments, or nothing."""
        lines = ["\n", "  \n", f"{self.random.choice(['', '      '])}{self.comment()}\n"]
        return "".join(self.random.choice(lines) for _line in range(self.random.choice([0, 0, 0, 1, 2])))

    def with_line_breaks(self, text: str) -> str:
        """Return a text with LF, CRLF or both, and with or without one at the end."""
        breaks = self.random.choice([["\n"], ["\n"], ["\r\n"], ["\n", "\r\n"]])
        *lines, last = text.split("\n")
        text = "".join(line + self.random.choice(breaks) for line in lines) + last
        if text.endswith("\n") and self.random.random() < 0.3:
            return text[:-1].removesuffix("\r")
        return text
