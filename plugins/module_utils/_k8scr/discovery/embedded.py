# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML and JSON in the texts of objects, such as the values of a chart in a ConfigMap or in a resource of Argo CD."""

from __future__ import annotations

import re
from typing import Any

from ..errors import InputError
from ..files.yaml_text import read_documents

_LONGEST = 1 << 20
"""Characters of a text that is read; an object in a cluster has at most about 1.5 MiB."""
_IMAGE = re.compile(r"(?:image|repository)\w{0,50}[\"']?:", re.IGNORECASE)
_TAG = re.compile(r"(?:tag|digest|sha|version)[\"']?:", re.IGNORECASE)


def embedded_documents(text: str) -> list[Any]:
    """Return the objects and lists in a text in which an image and its tag may be separate fields.

    Another text, such as a template, has none.
    """
    is_candidate = len(text) <= _LONGEST and ("\n" in text or "{" in text)
    if not is_candidate or not _IMAGE.search(text) or not _TAG.search(text):
        return []
    try:
        documents = read_documents(text, "the text")
    except InputError:
        return []
    return [document.value for document in documents if isinstance(document.value, (dict, list))]
