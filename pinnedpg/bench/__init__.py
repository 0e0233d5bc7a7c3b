# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Times collectives in the manner of nccl-tests: `python -m pinnedpg.bench --help`."""
