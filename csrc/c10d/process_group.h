// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <c10/util/FunctionRef.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "base/limit.h"
#include "c10d/cuda_team.h"
#include "c10d/errors.h"
#include "c10d/mailbox.h"
#include "c10d/operation.h"
#include "c10d/options.h"
#include "c10d/profiled.h"
#include "c10d/team.h"
#include "device/queue.h"
#include "memory/process.h"

namespace pinnedpg {

/// The backend `pinned`: collectives of one machine's ranks through shared host memory.
///
/// All ranks make the same calls in the same order. A call with `asyncOp == false` on an idle group is done by the
/// calling thread before it returns; any other is queued, in order, and done by the process's worker. Every collective
/// meets all ranks: none returns before all have called it, and one whose calls do not fit raises on all of them.
class ProcessGroupPinned final : public c10d::Backend {
 public:
  /// Shows this rank in the Store; makes no shared memory before the first call. `options` is copied.
  ProcessGroupPinned(c10::intrusive_ptr<c10d::Store> store, int rank, int size, const pinnedpg::Options& options);
  ~ProcessGroupPinned() override;

  const std::string getBackendName() const override { return "pinned"; }
  /// A copy: torch writes a child group's name and time-out into it.
  c10::intrusive_ptr<c10d::Backend::Options> getBackendOptions() override;

  using WorkPtr = c10::intrusive_ptr<c10d::Work>;
  using TensorList = std::vector<at::Tensor>;

  WorkPtr broadcast(TensorList& tensors, const c10d::BroadcastOptions& opts) override;
  WorkPtr allreduce(TensorList& tensors, const c10d::AllreduceOptions& opts) override;
  /// The sum of one tensor of layout COO.
  WorkPtr allreduce_sparse(TensorList& tensors, const c10d::AllreduceOptions& opts) override;
  WorkPtr reduce(TensorList& tensors, const c10d::ReduceOptions& opts) override;
  WorkPtr allgather(std::vector<TensorList>& outputs, TensorList& inputs, const c10d::AllgatherOptions& opts) override;
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& opts) override;
  WorkPtr gather(std::vector<TensorList>& outputs, TensorList& inputs, const c10d::GatherOptions& opts) override;
  WorkPtr scatter(TensorList& outputs, std::vector<TensorList>& inputs, const c10d::ScatterOptions& opts) override;
  WorkPtr reduce_scatter(TensorList& outputs, std::vector<TensorList>& inputs,
                         const c10d::ReduceScatterOptions& opts) override;
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions& opts) override;
  WorkPtr alltoall(TensorList& outputs, TensorList& inputs, const c10d::AllToAllOptions& opts) override;
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_splits,
                        std::vector<int64_t>& input_splits, const c10d::AllToAllOptions& opts) override;
  WorkPtr barrier(const c10d::BarrierOptions& opts) override;

#ifdef PINNEDPG_TORCH_HAS_GATHER_SINGLE
  WorkPtr gather_single(at::Tensor& output, at::Tensor& input, const c10d::GatherOptions& opts) override;
#endif

  /// The work is done once the receiver has posted a receive for the message (and it has been moved).
  WorkPtr send(TensorList& tensors, int to, int tag) override;
  WorkPtr recv(TensorList& tensors, int from, int tag) override;
  WorkPtr recvAnysource(TensorList& tensors, int tag) override;

  /// What is called between these two is one work together. `batch_isend_irecv` is not to use them: there is nothing
  /// to gain, and where a call of a batch raises, torch (2.11 to 2.15) silently drops every later collective.
  bool supportsCoalescing() const override { return false; }
  void startCoalescing() override;
  WorkPtr endCoalescing() override;
  WorkPtr allreduce_coalesced(TensorList& tensors, const c10d::AllreduceCoalescedOptions& opts) override;
  WorkPtr allgather_coalesced(std::vector<TensorList>& outputs, TensorList& inputs,
                              const c10d::AllgatherOptions& opts) override;
  WorkPtr allgather_into_tensor_coalesced(TensorList& outputs, TensorList& inputs,
                                          const c10d::AllgatherOptions& opts) override;
  WorkPtr reduce_scatter_tensor_coalesced(TensorList& outputs, TensorList& inputs,
                                          const c10d::ReduceScatterOptions& opts) override;

  /// A group of some of the ranks; null where this one is not of them.
  bool supportsSplitting() const override { return true; }
  c10::intrusive_ptr<Backend> split(const c10::intrusive_ptr<c10d::Store>& store, const std::vector<int>& ranks,
                                    const c10::intrusive_ptr<Backend::Options>& opts) override;
  c10::intrusive_ptr<Backend> merge(const c10::intrusive_ptr<c10d::Store>& store,
                                    const c10::intrusive_ptr<Backend::Options>& opts, const int& rank,
                                    const int& size) override;
  /// A group of the ranks that stay, which alone call it; the others may be gone. A flag other than 0 aborts this one.
  bool supportsShrinking() const override { return true; }
  c10::intrusive_ptr<Backend> shrink(const std::vector<int64_t>& ranks_to_exclude, int shrink_flags,
                                     const c10::intrusive_ptr<Backend::Options>& opts_override) override;

  /// A barrier through the Store, in which rank 0 names the ranks that have not come in time: all of them, or the
  /// first.
  void monitoredBarrier(const c10d::BarrierOptions& opts, bool wait_all_ranks) override;
  c10d::ErrorType getError() override;

  void setSequenceNumberForGroup() override {}
  void enableCollectivesTiming() override {}  // it is always on
  uint64_t getSequenceNumberForGroup() override { return sequence_; }
  void setTimeout(std::chrono::milliseconds timeout) override;

  // Refused, each with a word on what serves instead.
#ifdef C10D_BACKEND_HAS_RECONFIGURE
  c10d::ReconfigureHandle get_reconfigure_handle() const override;
  WorkPtr reconfigure(const c10d::ReconfigureOptions& opts) override;
#endif
#ifdef C10D_BACKEND_HAS_WINDOW
  c10::intrusive_ptr<c10d::Window> new_window(const std::optional<at::Tensor>& tensor) override;
#endif
#ifdef C10D_BACKEND_HAS_HOOKS
  void registerAbortHook(int64_t hook_id, c10d::AbortHook hook) override;
#endif
#ifdef PINNEDPG_TORCH_HAS_COMPLETION_HOOKS
  void registerCompletionHook(int64_t hook_id, c10d::CompletionHook hook) override;
#endif
#ifdef PINNEDPG_TORCH_HAS_TIME_ESTIMATE
  void startTimeEstimate() override;
#endif

  /// Every call under way or later, on every rank, raises. Not collective.
  void abort() override;
  /// Leaves the group: a rank that still waits for this one is told so. Not collective; may be called again. First
  /// waits on the host for the messages of GPUs whose works have been waited for.
  void shutdown() override;

 private:
  /// What one call is, before it has exchanges. Its lists lie on the caller's stack: what is queued is copied.
  struct Request {
    Request(c10d::OpType op, const char* title, const Label& label, std::chrono::milliseconds timeout, bool async);

    const c10d::OpType op;
    const char* const title;
    const std::chrono::milliseconds timeout;
    const bool async;  ///< to be queued, and not done by its caller; else it is over before it returns, and has no work
    const bool profiled = at::hasCallbacks();
    Label label;
    Scratch scratch;
    Memory* const memory = scratch.memory();
    Tensors tensors;
    TensorList inputs;   ///< for a profiler
    TensorList outputs;  ///< for the work

    /// Keeps the two for those that are there.
    void tell(at::TensorList given, at::TensorList results) {
      if (profiled) inputs = given.vec();
      if (async) outputs = results.vec();
    }
  };

  /// with_torch_errors; and a batch in which a call raises has failed.
  template <typename Body>
  WorkPtr guarded(Body&& body) {
    try {
      return with_torch_errors(std::forward<Body>(body));
    } catch (...) {
      Batch open = Batch::kOpen;
      batch_.compare_exchange_strong(open, Batch::kFailed);
      throw;
    }
  }

  Request request(CallKind kind, c10d::OpType op, const char* title, std::chrono::milliseconds timeout, bool async);
  /// Does the call at once, or queues it.
  template <typename Plan>
  WorkPtr run(Request& request, const Plan& plan, const Operation::Next& next = {}) {
    if (request.label.kind != CallKind::kBarrier) request.label.dtype = dtype_label(request.tensors.type());
    const Profiled profiled(request.title, request.inputs);
    ++sequence_;
    if (request.tensors.on_gpus()) return run_on_gpus(request, plan, next);
    const bool here = !request.async && queue_->try_begin();
    return here ? run_here(request, plan, next) : enqueue(request, plan, next);
  }
  using PlanRef = c10::function_ref<Call::Leg(const Geometry&, int, Memory*)>;
  WorkPtr run_here(Request& request, PlanRef plan, const Operation::Next& next);
  void carry_out(Request& request, PlanRef plan, const Operation::Next& next);
  WorkPtr enqueue(Request& request, Operation::Plan plan, const Operation::Next& next);
  WorkPtr run_on_gpus(Request& request, PlanRef plan, const Operation::Next& next);
  /// Does the first exchange of a call, which is of what lies on the host, at once.
  void tell_sizes(Request& request, Call& call, PlanRef plan);
  /// Adds the call's legs.
  void plan_legs(Request& request, Call& call, CudaTeam& team, PlanRef plan, const Operation::Next& next);
  WorkPtr run_fused(Request& request, const std::shared_ptr<CudaTeam>& team, Call& call, FusedRound& round,
                    void* stream, bool captured);
  /// Raises the error of a call that could not be queued; keeps what a part of it needs until that is let go.
  [[noreturn]] void give_up(Request& request, const std::shared_ptr<CudaTeam>& team, std::exception_ptr error);
  /// Of a call that is queued: keeps what it needs until it is done.
  WorkPtr watch(Request& request, const std::shared_ptr<CudaTeam>& team, CudaTeam::Queued queued);
  WorkPtr done_by_host(Request& request, const CudaTeam::Streams& streams);
  std::shared_ptr<CudaTeam> cuda_team(int tensors);
  /// The host waits for what the current streams of the GPUs in use hold.
  void synchronize_gpus();
  template <typename Made = WorkPinned>
  c10::intrusive_ptr<Made> work_of(Request& request) const {
    return c10::make_intrusive<Made>(getRank(), request.op, request.label.name(), sequence_, request.timeout,
                                     std::move(request.outputs));
  }
  WorkPtr allreduce_sparse_on_gpu(TensorList& tensors, c10d::AllreduceOptions opts);
  WorkPtr exchange_all(Request& request, Regions inputs, Regions outputs, bool even);
  void label_reduction(Request& request, const c10d::ReduceOp& op) const;
  void leave();
  bool is_open();
  /// Under the lock: why a call has failed; nothing: none has.
  std::optional<std::string> failure() const;
  bool is_parents() const { return forks_ != fork_count(); }
  /// Raises in a forked child.
  void check_own() const;
  /// Keeps the work for endCoalescing, where that will be called.
  WorkPtr note(WorkPtr work);
  /// For a group of those of this one's ranks; none where they are not known.
  pinnedpg::Options child_options(const c10::intrusive_ptr<Backend::Options>& given,
                                  const std::vector<int>& ranks) const;
  uint16_t check_length(const Request& request, size_t tensors) const;
  int check_root(const Request& request, int64_t root, int64_t tensor, size_t tensors) const;
  WorkPtr post(c10d::OpType op, const char* name, const char* title, TensorList& tensors, int peer, int tag);
  std::shared_ptr<Mailbox> mailbox();
  /// No call can succeed any more, as the mailbox has found.
  void fail(const std::string& reason);
  /// Under the lock: ends everything for that reason.
  void close(const std::string& reason);
  /// The team for calls of so many tensors.
  std::shared_ptr<Team> team(int tensors);

  c10::intrusive_ptr<pinnedpg::Options> options_;
  const c10::intrusive_ptr<c10d::Store> store_;
  const Rendezvous rendezvous_;
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  std::mutex mutex_;
  std::shared_ptr<Team> first_;  ///< for calls of one tensor per rank, and where all others meet
  std::shared_ptr<Team> lists_;  ///< for calls of several tensors, as many as the newest such call had
  std::shared_ptr<CudaTeam> cuda_first_, cuda_lists_;  ///< the same for tensors on GPUs
  std::shared_ptr<Mailbox> mailbox_;                   ///< made for the first send or receive
  std::atomic<bool> uses_gpus_{false};  ///< there has been a team of GPUs: no barrier need look otherwise
  int cuda_lists_made_ = 0;
  int lists_made_ = 0;  ///< how many teams for several: equal on all ranks, since they make the same calls
  const uint32_t forks_ = fork_count();  ///< a forked child does not speak for the rank
  std::string closed_;                   ///< why no call can be made any more; empty while it can
  std::atomic<uint64_t> sequence_{0};
  bool failed_ = false;  ///< closed for a fault, and not because the group was left
  enum class Batch : uint8_t { kNone, kOpen, kFailed };
  std::atomic<Batch> batch_{Batch::kNone};  ///< failed: torch may never end it, so it keeps no more than it must
  std::vector<WorkPtr> coalesced_;
  std::map<std::string, c10::weak_intrusive_ptr<ProcessGroupPinned>> children_;  ///< of split, by members and name
  std::map<std::string, int> splits_;  ///< how many, by their members: equal on all of these
  int shrunk_ = 0;
  std::atomic<int> monitored_{0};
};

}  // namespace pinnedpg
