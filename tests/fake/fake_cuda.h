// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <functional>
#include <string_view>

namespace pinnedpg {

/// Queues work on a stream. The null stream is the host itself, whose work is done when it is queued.
void push(void* stream, std::function<void()> work);

/// The same for a kernel, which the host does not wait for: what marks the host's stream comes after it.
void push_kernel(void* stream, std::function<void()> work);

/// A stream that nobody destroys.
void* new_stream();

/// Whether FAKE_CUDA_BREAK names it.
bool leaves_out(std::string_view what);

/// Looks until it is there.
void await(const std::function<bool()>& there);

}  // namespace pinnedpg
