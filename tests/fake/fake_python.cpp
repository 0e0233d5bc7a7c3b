// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What tests do with the GPU without a GPU, by ctypes: see fake_streams.py.
#include <cstdint>

#include "fake_cuda.h"

using namespace pinnedpg;

extern "C" {

void* fake_stream_new(int device) { return new_stream(device); }
void fake_stream_submit(void* stream, void (*work)()) { push(stream, work); }
int fake_stream_query(void* stream) { return is_idle(stream) ? 1 : 0; }
void* fake_stream_current(int device) { return fake_current_stream(device); }
void fake_stream_set_current(int device, void* stream) { set_fake_current_stream(device, stream); }
size_t fake_pinned() { return fake_pinned_bytes(); }
void fake_load() { load_kernel(); }
void fake_pageable(void* data) { set_pageable(data); }
}
