// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <functional>

namespace pinnedpg {

/// A caller's stream on a GPU, for ever.
void* new_fake_stream(int device);
/// What is to be done on the stream; it may block.
void push_fake(void* stream, std::function<void()> work);
bool is_fake_stream_idle(void* stream);

/// Of all threads; null, at first: the host, whose work is done when it is queued.
void* fake_current_stream(int device);
void set_fake_current_stream(int device, void* stream);

size_t fake_pinned_bytes();

}  // namespace pinnedpg
