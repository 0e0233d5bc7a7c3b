# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""How setup.py compiles the native code: one engine, and one extension module per torch release."""
