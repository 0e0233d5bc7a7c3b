# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A bar on a terminal, below what is printed."""

import sys
import time

WIDTH = 30


class Progress:
    """Shows how far it is and how long it will take; nothing where stderr is no terminal."""

    def __init__(self, total: int, shown: bool):
        """Counts up to `total`."""
        self.done, self.total = 0, total
        self.shown = shown and sys.stderr.isatty()
        self.began = time.monotonic()

    def step(self, what: str) -> None:
        """Says that `what` is next, and one more done when it is called again."""
        if self.shown:
            filled = WIDTH * self.done // self.total
            left_s = (time.monotonic() - self.began) / max(1, self.done) * (self.total - self.done)
            bar = f"[{'#' * filled:<{WIDTH}}] {self.done}/{self.total}"
            left = f", {left_s:.0f} s left" if self.done else ""
            sys.stderr.write(f"\r\033[K{bar} {what}{left}")
            sys.stderr.flush()
        self.done += 1

    def clear(self) -> None:
        """Takes the bar away, so that a line can be printed."""
        if self.shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
