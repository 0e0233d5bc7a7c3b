// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "base/region.h"

namespace pinnedpg {

/// A caller's stream on a GPU, for ever.
void* new_stream(int device);
/// Queues work on a stream; it may block. The null stream is the host itself, whose work is done when it is queued.
void push(void* stream, std::function<void()> work);
/// The same for a kernel, which the host does not wait for: what marks the host's stream comes after it.
void push_kernel(void* stream, std::function<void()> work);
bool is_idle(void* stream);
/// As the first launch of a kernel does: waits for all that is queued, and lets no other thread make a call of CUDA's.
void load_kernel();

/// Of all threads; null, at first: the host.
void* fake_current_stream(int device);
void set_fake_current_stream(int device, void* stream);

size_t fake_pinned_bytes();
/// All memory counts as pinned but what begins there.
void set_pageable(void* data);
/// Where FAKE_CUDA_PIN_MOST is set: raises SystemError for what is not pinned.
void check_pinned(const Region& region);

/// Whether FAKE_CUDA_BREAK names it.
bool leaves_out(std::string_view what);

/// Looks until it is there.
void await(const std::function<bool()>& there);

}  // namespace pinnedpg
