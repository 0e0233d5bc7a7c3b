# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Lets `python -m pinnedpg` do what the command `pinnedpg` does."""

import sys

from _pinnedpg_cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
