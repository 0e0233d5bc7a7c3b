// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/pinned.h"

#include <map>
#include <mutex>

#include "base/check.h"
#include "device/device.h"

namespace pinnedpg {

namespace {

struct Known {
  std::mutex mutex;
  std::map<void*, std::weak_ptr<void>> by_address;
};

Known& known() {
  static auto* const known = new Known;  // never destroyed: memory may be let go of at the end of the process
  return *known;
}

void forget(void* data) {
  std::lock_guard lock(known().mutex);
  try {
    unpin(data);
  } catch (const SystemError&) {
    // The driver has gone before us, at the end of the process: the memory goes with that.
  }
  const auto found = known().by_address.find(data);
  if (found != known().by_address.end() && found->second.expired()) known().by_address.erase(found);
}

}  // namespace

std::shared_ptr<void> pin_shared(const std::shared_ptr<void>& memory, void* data, size_t bytes) {
  std::lock_guard lock(known().mutex);
  if (auto pinned = known().by_address[data].lock()) return pinned;
  pin(data, bytes);
  std::shared_ptr<void> pinned(data, [memory](void* at) { forget(at); });
  known().by_address[data] = pinned;
  return pinned;
}

}  // namespace pinnedpg
