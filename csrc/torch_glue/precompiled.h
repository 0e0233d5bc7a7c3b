// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// torch's headers, precompiled once for all files of an extension module (tools/native/extension.py). A file includes
// what it uses all the same. pybind11's are not here: a precompiled header that has them adds 5 s to every file, since
// the compiler then generates code for their functions in each.
#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/thread_pool.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
