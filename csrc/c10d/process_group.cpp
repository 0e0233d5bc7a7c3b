// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/process_group.h"

#include <c10/util/ScopeExit.h>

#include <limits>

#include "base/limit.h"
#include "base/log.h"
#include "c10d/errors.h"
#include "collective/collectives.h"
#include "device/device.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

namespace {

ReduceOp op_of(const c10d::ReduceOp& op) {
  switch (op.op_) {
    case c10d::ReduceOp::SUM:
      return ReduceOp::kSum;
    case c10d::ReduceOp::AVG:
      return ReduceOp::kAvg;
    case c10d::ReduceOp::PRODUCT:
      return ReduceOp::kProduct;
    case c10d::ReduceOp::MIN:
      return ReduceOp::kMin;
    case c10d::ReduceOp::MAX:
      return ReduceOp::kMax;
    case c10d::ReduceOp::BAND:
      return ReduceOp::kBand;
    case c10d::ReduceOp::BOR:
      return ReduceOp::kBor;
    case c10d::ReduceOp::BXOR:
      return ReduceOp::kBxor;
    case c10d::ReduceOp::PREMUL_SUM:
      return ReduceOp::kPremulSum;
    default:
      throw ValueError(
          concat("reduction: the op must be one of torch.distributed.ReduceOp's; got number ", int(op.op_)));
  }
}

/// The rank's own factor of a PREMUL_SUM.
double factor_of(const c10d::ReduceOp& op) {
  const auto* supplement = static_cast<const PremulFactor*>(op.supplement_.get());
  PINNEDPG_CHECK(supplement != nullptr, "reduction: PREMUL_SUM must carry a factor; got none");
  const at::Tensor& tensor = supplement->tensor_factor;
  if (!tensor.defined()) return supplement->double_factor;
  PINNEDPG_CHECK(!tensor.is_complex(), "reduction: the factor of a PREMUL_SUM must be real; got one of torch.",
                 dtype_text(dtype_label(tensor.scalar_type())));
  return tensor.item<double>();
}

/// A choice that cannot be is an error here, not at the first call.
c10::intrusive_ptr<Options> checked_options(const Options& given, int world_size) {
  auto options = c10::make_intrusive<Options>(given);
  options->timeout = bounded(options->timeout);
  options->geometry(world_size);
  return options;
}

}  // namespace

ProcessGroupPinned::ProcessGroupPinned(c10::intrusive_ptr<c10d::Store> store, int rank, int size,
                                       const pinnedpg::Options& options)
    : Backend(rank, size),
      options_(checked_options(options, size)),
      store_(std::move(store)),
      rendezvous_(Rendezvous::join(store_, rank, size, options_)) {
  PINNEDPG_LOG(kVersion, kInit, "pinnedpg built for torch ", PINNEDPG_TORCH_VERSION,
               built_with_cuda() ? ", with CUDA" : ", without CUDA");
  PINNEDPG_LOG(kInfo, kInit, "group '", options_->group_name, "': rank ", rank, " of ", size);
}

ProcessGroupPinned::~ProcessGroupPinned() { leave(); }

c10::intrusive_ptr<c10d::Backend::Options> ProcessGroupPinned::getBackendOptions() {
  return c10::make_intrusive<pinnedpg::Options>(*options_);
}

void ProcessGroupPinned::setTimeout(std::chrono::milliseconds timeout) {
  with_torch_errors([&] {
    auto changed = *options_;
    // timedelta.max is a negative number by the time torch has made milliseconds of it.
    changed.timeout = timeout < -bounded(timeout.max()) ? timeout.max() : timeout;
    options_->timeout = checked_options(changed, getSize())->timeout;
  });
}

void ProcessGroupPinned::abort() {
  if (is_parents()) return;
  {
    std::lock_guard lock(mutex_);
    close(concat("the group was aborted by rank ", getRank()));
  }
  rendezvous_.leave("has aborted the group");
  rendezvous_.announce_abort(concat("the group was aborted by rank ", getRank()));
}

void ProcessGroupPinned::close(const std::string& reason) {
  closed_ = reason;
  failed_ = true;
  if (first_) first_->abort(reason);
  if (lists_) lists_->abort(reason);
  for (const auto& team : {cuda_first_, cuda_lists_}) {
    if (team) team->team().abort(reason);
  }
  if (mailbox_) mailbox_->abort(reason);
}

void ProcessGroupPinned::shutdown() {
  const auto left = c10::make_scope_exit([this] { leave(); });
  std::shared_ptr<Mailbox> mailbox;
  {
    std::lock_guard lock(mutex_);
    if (!is_parents()) mailbox = mailbox_;
  }
  if (mailbox) mailbox->keep_promises();
}

void ProcessGroupPinned::leave() {
  bool unseen = false, called = false;
  std::optional<std::string> fault;
  std::shared_ptr<Mailbox> mailbox;
  {
    std::lock_guard lock(mutex_);
    const bool seen_by_gpus = cuda_first_ || !may_use_gpus();
    unseen = closed_.empty() && getSize() > 1 && (!first_ || !first_->connected() || !seen_by_gpus);
    // A rank that has yet to come finds no one in a group that failed without it.
    if (closed_.empty()) fault = failure();
    called = first_ || cuda_first_;
    if (closed_.empty()) closed_ = "the group was destroyed";
    cuda_first_ = cuda_lists_ = nullptr;
    first_ = lists_ = nullptr;  // what is queued keeps its team until it is done
    mailbox = std::exchange(mailbox_, nullptr);
  }
  if (is_parents()) return;
  if (mailbox) {
    mailbox->leave("the group was destroyed");
    unseen |= mailbox->is_unseen();
  }
  // Ranks in a group with this one see it leave in the control page; those that still wait for it to come, here.
  if (fault) return rendezvous_.leave(concat("has left the group, which had failed: ", *fault));
  if (unseen) rendezvous_.leave(mailbox || called ? "has left the group" : "has left the group before its first call");
}

void ProcessGroupPinned::check_own() const {
  if (is_parents())
    throw GroupError("the group is that of the process this one was forked from; a child makes groups of its own");
}

std::shared_ptr<Team> ProcessGroupPinned::team(int tensors) {
  check_own();
  std::lock_guard lock(mutex_);
  if (!closed_.empty()) throw GroupError(closed_);
  auto& team = tensors == 1 ? first_ : lists_;
  // Another length of lists needs another team. The old one goes, so that a group costs two segments at most.
  if (!team || team->tensors() != tensors) {
    team = std::make_shared<Team>(rendezvous_, tensors, tensors == 1 ? 0 : ++lists_made_);
    if (mailbox_) mailbox_->watch(team);
  }
  return team;
}

ProcessGroupPinned::Request::Request(c10d::OpType op, const char* title, const Label& label,
                                     std::chrono::milliseconds timeout, bool async)
    : op(op), title(title), timeout(timeout), async(async), label(label), tensors(label.name(), memory) {}

ProcessGroupPinned::Request ProcessGroupPinned::request(CallKind kind, c10d::OpType op, const char* title,
                                                        std::chrono::milliseconds timeout, bool async) {
  Label label;
  label.kind = kind;
  if (timeout.count() <= 0) timeout = options_->timeout;
  return {op, title, label, bounded(timeout), async || batch_ != Batch::kNone};
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::enqueue(Request& request, Operation::Plan plan,
                                                        const Operation::Next& next) {
  const Label& label = request.label;
  auto work = work_of(request);
  queue_->push(std::make_shared<Operation>(label.tensors == 1 ? nullptr : team(1), team(label.tensors), request.tensors,
                                           label, request.timeout, std::move(plan), next, work));
  if (request.async) return note(work);
  work->wait();
  return nullptr;
}

void ProcessGroupPinned::label_reduction(Request& request, const c10d::ReduceOp& op) const {
  const ReduceOp ours = op_of(op);
  const std::optional<DType> dtype = dtype_of(request.tensors.type());
  PINNEDPG_CHECK(dtype && can_reduce({*dtype, ours}), request.label.name(), ": ", op_name(ours),
                 " must be defined for the type; got torch.", dtype_text(dtype_label(request.tensors.type())));
  request.label.reduces = static_cast<uint8_t>(1 + static_cast<int>(ours));
  if (ours == ReduceOp::kPremulSum) request.label.factor = factor_of(op);
}

uint16_t ProcessGroupPinned::check_length(const Request& request, size_t tensors) const {
  const size_t most = std::numeric_limits<uint16_t>::max() / static_cast<size_t>(getSize());
  PINNEDPG_CHECK(tensors <= most, request.label.name(), ": a list must have at most ", most, " tensors on ", getSize(),
                 " ranks; got ", tensors);
  return static_cast<uint16_t>(tensors);
}

int ProcessGroupPinned::check_root(const Request& request, int64_t root, int64_t tensor, size_t tensors) const {
  PINNEDPG_CHECK(root >= 0 && root < getSize(), request.label.name(), ": the root must be a rank of the group, 0 to ",
                 getSize() - 1, "; got ", root);
  PINNEDPG_CHECK(tensor >= 0 && tensor < static_cast<int64_t>(tensors), request.label.name(),
                 ": the root's tensor must be one of the ", tensors, " given; got number ", tensor);
  return static_cast<int>(root * static_cast<int64_t>(tensors) + tensor);
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::barrier(const c10d::BarrierOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kBarrier, c10d::OpType::BARRIER, "pinned:barrier", opts.timeout, opts.asyncOp);
    if (uses_gpus_.load(std::memory_order_relaxed)) synchronize_gpus();
    return run(call, [](const Geometry&, int, Memory* memory) { return collectives::barrier({0, 1, memory}); });
  });
}

}  // namespace pinnedpg
