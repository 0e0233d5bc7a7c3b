# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""README.md as the package index shows it: it has no other file, so each link leads to GitHub."""

import re

PAGE = "https://github.com/pinnedpg/pinnedpg/blob/main/"
IMAGE = "https://raw.githubusercontent.com/pinnedpg/pinnedpg/main/"
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)")


def pypi_readme(text: str) -> str:
    """Returns the text with the addresses of all files that it links to."""
    return LINK.sub(lambda link: f"]({IMAGE if link[1].endswith('.svg') else PAGE}{link[1]}", text)
