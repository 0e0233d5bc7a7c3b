// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "c10d/cuda_message.h"
#include "c10d/tensors.h"
#include "c10d/work.h"
#include "collective/wire.h"

namespace pinnedpg {

class Mailbox;

/// The work of a send or a receive. Who waits for it on the host moves messages meanwhile. With a tensor on a GPU the
/// current stream waits, and the host only where it must: until the source is known, and whether that is of another
/// process.
class WorkMessage final : public WorkPinned {
 public:
  WorkMessage(std::weak_ptr<Mailbox> mailbox, int peer, int rank, c10d::OpType op, const char* name,
              std::chrono::milliseconds timeout, const at::Tensor& tensor, std::shared_ptr<CudaMessage> cuda)
      : WorkPinned(rank, op, name, 0, timeout, {tensor}),
        mailbox_(std::move(mailbox)),
        cuda_(std::move(cuda)),
        source_(peer) {}

  /// With a time-out the host waits for the end, too.
  void wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout) override;
  bool isCompleted() override;
  void synchronize() override;
  /// Waits on the host until the message has been moved, or has failed: nothing is said of that.
  void settle();
  /// Whether a stream relies on it: who has waited without an error has been promised the message.
  bool is_promised() const { return promised_; }

  /// Of a receive: the rank in the group that has sent the message; -1 while there is none.
  int sourceRank() const override {
    return retrieveOpType() == c10d::OpType::SEND ? Work::sourceRank() : source_.load();
  }
  void set_source(int rank) { source_ = rank; }

 protected:
  c10::intrusive_ptr<c10::ivalue::Future> make_future() const override;
  void settle_future() override;

 private:
  void await(std::chrono::steady_clock::time_point end, c10::function_ref<bool()> there);
  void await_copy(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout);
  void hold_stream();
  void hold(void* stream);
  void raise_failure() const;

  const std::weak_ptr<Mailbox> mailbox_;
  const std::shared_ptr<CudaMessage> cuda_;  ///< null: the tensor's bytes lie on the host
  std::atomic<bool> promised_{false};
  std::atomic<int> source_;
};

/// One send or receive, from its post to its work.
struct Message {
  explicit Message(const char* operation) : tensors(operation) {}

  Tensors tensors;
  std::shared_ptr<CudaMessage> cuda;  ///< where the tensor is on a GPU whose streams wait; it has the tensors then
  Region region;                      ///< on the host
  int peer = -1;                      ///< -1: any source
  int tag = 0;
  std::array<char, 16> dtype{};
  std::chrono::milliseconds timeout{0};
  std::chrono::steady_clock::time_point posted = std::chrono::steady_clock::now();
  c10::intrusive_ptr<WorkMessage> work;
  uint64_t id = 0;    ///< of a send: the sender's count for that peer
  size_t moved = 0;   ///< bytes put, or got
  std::string error;  ///< why it is over; empty: well

  /// Of a send: its bytes can be read.
  bool is_ready() const { return !cuda || region.bytes() == 0 || cuda->is_ready(); }
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
