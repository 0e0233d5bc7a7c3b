# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the package index shows of README.md leads nowhere but to addresses."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = runpy.run_path(str(ROOT / "tools" / "pypi_readme.py"))
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\(([^)]+)\)")


def test_every_link_is_an_address():
    before, shown = LINK.findall(README), LINK.findall(MODULE["pypi_readme"](README))
    assert len(before) == len(shown) > 10
    for link, address in zip(before, shown, strict=True):
        assert address == link or address in (MODULE["PAGE"] + link, MODULE["IMAGE"] + link)
        assert address.startswith(("https://", "#")), address


def test_images_are_files_and_pages_are_pages():
    text = "![a](b/c.svg) [d](docs/e.md#f) [g](#h) [i](https://j.k)"
    page, image = MODULE["PAGE"], MODULE["IMAGE"]
    expected = f"![a]({image}b/c.svg) [d]({page}docs/e.md#f) [g](#h) [i](https://j.k)"
    assert MODULE["pypi_readme"](text) == expected
