// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/pinned.h"

#include <condition_variable>
#include <map>
#include <mutex>

#include "base/check.h"
#include "device/device.h"

namespace pinnedpg {

namespace {

struct Pin {
  std::weak_ptr<void> pinned;  ///< expired: it is about to be undone
  size_t bytes;
};

struct Known {
  std::mutex mutex;
  std::condition_variable forgotten;
  std::map<std::byte*, Pin> by_address;

  /// The pin that has these bytes among its own; null: there is none.
  std::shared_ptr<void> covering(std::unique_lock<std::mutex>& lock, std::byte* data, size_t bytes) {
    for (;;) {
      auto found = by_address.upper_bound(data);
      if (found == by_address.begin()) return nullptr;
      --found;
      std::byte* const end = found->first + found->second.bytes;
      if (data >= end) return nullptr;
      if (auto pinned = found->second.pinned.lock()) return data + bytes <= end ? pinned : nullptr;
      forgotten.wait(lock);
    }
  }
};

Known& known() {
  static auto* const known = new Known;  // never destroyed: memory may be let go of at the end of the process
  return *known;
}

void forget(std::byte* data) {
  std::lock_guard lock(known().mutex);
  try {
    unpin(data);
  } catch (const SystemError&) {
    // The driver has gone before us, at the end of the process: the memory goes with that.
  }
  known().by_address.erase(data);
  known().forgotten.notify_all();
}

}  // namespace

std::shared_ptr<void> pin_shared(const std::shared_ptr<void>& memory, void* data, size_t bytes) {
  auto* const begin = static_cast<std::byte*>(data);
  std::unique_lock lock(known().mutex);
  if (auto pinned = known().covering(lock, begin, bytes)) return pinned;
  pin(begin, bytes);
  std::shared_ptr<void> pinned(begin, [memory](std::byte* at) { forget(at); });
  known().by_address[begin] = {pinned, bytes};
  return pinned;
}

}  // namespace pinnedpg
