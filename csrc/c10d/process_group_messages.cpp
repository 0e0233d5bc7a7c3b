// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/errors.h"
#include "c10d/process_group.h"
#include "device/device.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

namespace {

constexpr int kAnySource = -1;

/// Whether the tensor is on a GPU whose streams can wait.
bool can_wait_on_stream(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == gpu_type() && built_with_cuda() &&
         CudaStream::can_wait(std::max<int>(tensor.device().index(), 0));
}

}  // namespace

std::shared_ptr<Mailbox> ProcessGroupPinned::mailbox() {
  check_own();
  std::lock_guard lock(mutex_);
  if (!closed_.empty()) throw GroupError(closed_);
  if (!mailbox_) {
    const auto self = c10::intrusive_ptr<ProcessGroupPinned>::reclaim_copy(this);
    mailbox_ = std::make_shared<Mailbox>(
        rendezvous_, [group = c10::weak_intrusive_ptr<ProcessGroupPinned>(self)](const std::string& reason) {
          if (const auto it = group.lock()) it->fail(reason);
        });
    mailbox_->watch(first_);
    mailbox_->watch(lists_);
  }
  return mailbox_;
}

void ProcessGroupPinned::fail(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_.empty()) return;
    close(reason);
  }
  rendezvous_.leave(concat("has failed: ", reason));
  rendezvous_.announce_abort(reason);
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::post(c10d::OpType op, const char* name, const char* title,
                                                     TensorList& tensors, int peer, int tag) {
  PINNEDPG_CHECK(tensors.size() == 1, name, ": there must be one tensor; got ", tensors.size(),
                 ". Make a call for each");
  PINNEDPG_CHECK(op == c10d::OpType::RECVANYSOURCE || (peer >= 0 && peer < getSize()), name,
                 ": the other rank must be one of the group, 0 to ", getSize() - 1, "; got ", peer);
  PINNEDPG_CHECK(tag >= 0, name, ": the tag must be 0 or more; got ", tag);
  const std::shared_ptr<Mailbox> box = mailbox();
  const bool sends = op == c10d::OpType::SEND;
  const bool queued = !options_->host_waits && can_wait_on_stream(tensors[0]);
  Tensors kept(name, std::pmr::get_default_resource(), !queued);
  const Region region = sends ? kept.input(tensors[0]) : kept.output(tensors[0]);
  const Profiled profiled(title, tensors);
  kept.read();
  auto message = std::make_shared<Message>(name);
  message->dtype = dtype_label(kept.type());
  message->cuda = queued ? std::make_shared<CudaMessage>(kept, region, sends) : nullptr;
  message->region = queued ? message->cuda->on_host() : region;
  if (!queued) message->tensors = std::move(kept);
  message->peer = peer;
  message->tag = tag;
  message->timeout = options_->timeout;
  auto work =
      c10::make_intrusive<WorkMessage>(box, peer, getRank(), op, name, message->timeout, tensors[0], message->cuda);
  message->work = work;
  box->post(std::move(message));
  return note(work);
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::send(TensorList& tensors, int to, int tag) {
  return guarded([&] { return post(c10d::OpType::SEND, "send", "pinned:send", tensors, to, tag); });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::recv(TensorList& tensors, int from, int tag) {
  return guarded([&] { return post(c10d::OpType::RECV, "recv", "pinned:recv", tensors, from, tag); });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::recvAnysource(TensorList& tensors, int tag) {
  return guarded(
      [&] { return post(c10d::OpType::RECVANYSOURCE, "recv", "pinned:recvAnySource", tensors, kAnySource, tag); });
}

}  // namespace pinnedpg
