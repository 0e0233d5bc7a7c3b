// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <chrono>
#include <memory>

#include "c10d/tensors.h"
#include "c10d/work.h"
#include "collective/wire.h"

namespace pinnedpg {

class Mailbox;

/// The work of a send or a receive. Who waits for it moves messages meanwhile.
class WorkMessage final : public WorkPinned {
 public:
  WorkMessage(std::weak_ptr<Mailbox> mailbox, int peer, int rank, c10d::OpType op, const char* name, const char* title,
              std::chrono::milliseconds timeout, const at::Tensor& tensor)
      : WorkPinned(rank, op, name, title, 0, timeout, {tensor}, {tensor}),
        mailbox_(std::move(mailbox)),
        source_(peer) {}

  void wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout) override;

  /// Of a receive: the rank in the group that has sent the message; -1 while there is none.
  int sourceRank() const override {
    return retrieveOpType() == c10d::OpType::SEND ? Work::sourceRank() : source_.load();
  }
  void set_source(int rank) { source_ = rank; }

 private:
  void help(Mailbox& mailbox, std::chrono::steady_clock::time_point end);

  const std::weak_ptr<Mailbox> mailbox_;
  std::atomic<int> source_;
};

/// One send or receive, from its post to its work.
struct Message {
  explicit Message(const char* operation) : tensors(operation, std::pmr::get_default_resource(), true) {}

  Tensors tensors;
  Region region;
  int peer = -1;  ///< -1: any source
  int tag = 0;
  std::array<char, 16> dtype{};
  std::chrono::milliseconds timeout{0};
  std::chrono::steady_clock::time_point posted = std::chrono::steady_clock::now();
  c10::intrusive_ptr<WorkMessage> work;
  uint64_t id = 0;    ///< of a send: the sender's count for that peer
  size_t moved = 0;   ///< bytes put, or got
  std::string error;  ///< why it is over; empty: well

  bool is_send() const { return work->retrieveOpType() == c10d::OpType::SEND; }
  bool matches(int source, int of_tag) const { return (peer == -1 || peer == source) && tag == of_tag; }
  /// It is over: lets go of all it holds, and tells the work.
  void complete();
  /// As a user would say it: "float32[100] with tag 3".
  std::string to_string() const { return describe(dtype, region.bytes(), tag); }

  static std::string describe(const std::array<char, 16>& dtype, uint64_t bytes, int tag) {
    return concat(bytes, " bytes of ", dtype_text(dtype), " with tag ", tag);
  }
};

using MessagePtr = std::shared_ptr<Message>;

}  // namespace pinnedpg
