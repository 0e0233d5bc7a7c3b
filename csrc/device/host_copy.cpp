// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/host_copy.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace pinnedpg {

void copy_rows(const Region& dst, const Region& src) {
  if (dst.is_flat() && src.is_flat()) {
    std::memcpy(dst.data, src.data, dst.bytes());
    return;
  }
  for (size_t row = 0; row < dst.rows; ++row) {
    std::memcpy(dst.data + row * dst.pitch, src.data + row * src.pitch, dst.row_bytes);
  }
}

#if defined(__x86_64__)

void copy_past_caches(std::byte* dst, const std::byte* src, size_t bytes) {
  constexpr size_t kVector = sizeof(__m128i), kLine = 64;
  if (bytes < 4 * kLine) {
    std::memcpy(dst, src, bytes);
    return;
  }
  const size_t head = -reinterpret_cast<uintptr_t>(dst) % kLine;
  std::memcpy(dst, src, head);
  const size_t end = head + (bytes - head) / kLine * kLine;
  for (size_t at = head; at < end; at += kLine) {
    __m128i line[kLine / kVector];
    std::memcpy(line, src + at, kLine);
    for (size_t i = 0; i < kLine / kVector; ++i) _mm_stream_si128(reinterpret_cast<__m128i*>(dst + at) + i, line[i]);
  }
  std::memcpy(dst + end, src + end, bytes - end);
  _mm_sfence();  // such stores are not ordered before the release of a flag by themselves
}

#else

void copy_past_caches(std::byte* dst, const std::byte* src, size_t bytes) { std::memcpy(dst, src, bytes); }

#endif

}  // namespace pinnedpg
