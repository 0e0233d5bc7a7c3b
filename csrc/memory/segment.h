// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "memory/process.h"

namespace pinnedpg {

/// Host memory that all ranks of one machine map. It has no name in any file system: it lives in a memfd of its
/// creator, whom the others find by `handle()`, and is gone with the last mapping however a rank dies.
class Segment {
 public:
  /// Where a segment is to be had: published in the Store, read by `open`.
  struct Handle {
    ProcessId creator;
    int fd = -1;
    uint64_t id = 0;  ///< random: tells it from whatever else a reused pid and fd may name
    size_t bytes = 0;

    std::string to_string() const;
    static Handle parse(const std::string& text);
  };

  /// A new segment of zeros. Its pages are not there yet: see `reserve`.
  static std::shared_ptr<Segment> create(size_t bytes);

  /// The segment of that handle: adopted when this process has mapped it already (ranks as threads share one mapping),
  /// else opened through /proc/<pid>/fd, which the kernel grants to the creator's own user alone. Null when the handle
  /// is stale: its creator has closed it or is gone. Raises ValueError when the creator runs on another machine or in
  /// another pid namespace.
  static std::shared_ptr<Segment> open(const Handle& handle);

  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  /// Makes the pages of [begin, begin + bytes) exist, near the calling thread: a shortage of memory is an exception
  /// here and never a SIGBUS later.
  void reserve(size_t begin, size_t bytes);

  /// No further rank can open the segment; closes the file descriptor. Any rank that shares the mapping may call it.
  void seal();

  Handle handle() const { return handle_; }
  std::byte* data() const { return data_; }
  size_t bytes() const { return handle_.bytes; }

 private:
  Segment(int fd, Handle handle);
  /// Finds a segment's file; -1 where the handle is stale.
  static int open_file(const Handle& handle);
  void map();

  Handle handle_;
  std::atomic<int> fd_;
  std::byte* data_ = nullptr;
};

}  // namespace pinnedpg
