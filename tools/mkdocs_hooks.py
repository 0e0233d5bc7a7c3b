# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Makes a site of pages that link to each other as files of the repository (see mkdocs.yml).

README.md becomes the first page. A link to a file that is no page leads to GitHub.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Files outside of docs/, and the pages that they become."""
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages and images that are not below docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    for path in sorted((ROOT / "benchmarks").glob("*.svg")):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a file in the repository into those of a page."""
    pages = {file.src_uri: file.src_uri for file in files}
    pages |= {f"docs/{uri}": uri for uri in pages} | PAGES
    in_root = page.file.src_uri in PAGES.values()
    folder = "" if in_root else "docs"

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path in pages:
            return f"]({pages[path]}"
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{path}"

    return LINK.sub(target, markdown)
