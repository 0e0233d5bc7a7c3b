// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/errors.h"
#include "c10d/process_group.h"
#include "c10d/work_all.h"

namespace pinnedpg {

// Calls that come together are done one after the other, as one work: each moves its tensors where they lie, so there
// is nothing to gain by copying them together.

namespace {

/// Before any of them is queued: each tensor can take part, and all are of one type.
void check_all(const char* name, const std::vector<at::Tensor>& tensors) {
  Tensors checked(name);
  for (const at::Tensor& tensor : tensors) checked.check(tensor, "tensor");
}

/// The same of each call's own output and input: the calls may be of different types.
void check_each(const char* name, const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) check_all(name, {inputs[i], outputs[i]});
}

void check_sizes(const char* name, const std::vector<at::Tensor>& wholes, const std::vector<at::Tensor>& parts,
                 int64_t times) {
  for (size_t i = 0; i < wholes.size(); ++i) {
    PINNEDPG_CHECK(wholes[i].numel() == parts[i].numel() * times, name, ": tensor ", i, " must have ", times, " x ",
                   parts[i].numel(), " elements; got ", wholes[i].numel());
  }
}

void check_pairs(const char* name, size_t outputs, size_t inputs) {
  PINNEDPG_CHECK(outputs == inputs, name, ": there must be an output for each of the ", inputs, " inputs; got ",
                 outputs);
}

/// The works as one; null where all calls are over, and have none.
c10::intrusive_ptr<c10d::Work> all_of(int rank, std::vector<c10::intrusive_ptr<c10d::Work>> works) {
  const size_t over = std::erase(works, nullptr);
  if (over > 0 && works.empty()) return nullptr;
  return c10::make_intrusive<WorkAll>(rank, std::move(works));
}

}  // namespace

void ProcessGroupPinned::startCoalescing() {
  std::lock_guard lock(mutex_);
  coalesced_.clear();
  batch_ = Batch::kOpen;
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::endCoalescing() {
  std::lock_guard lock(mutex_);
  batch_ = Batch::kNone;
  return c10::make_intrusive<WorkAll>(getRank(), std::exchange(coalesced_, {}));
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::note(WorkPtr work) {
  if (batch_ != Batch::kNone) {
    std::lock_guard lock(mutex_);
    if (batch_ == Batch::kFailed) std::erase_if(coalesced_, [](const auto& one) { return one->isCompleted(); });
    coalesced_.push_back(work);
  }
  return work;
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::allreduce_coalesced(TensorList& tensors,
                                                                    const c10d::AllreduceCoalescedOptions& opts) {
  return guarded([&] {
    check_all("all_reduce_coalesced", tensors);
    std::vector<WorkPtr> works;
    for (const at::Tensor& tensor : tensors) {
      TensorList one{tensor};
      works.push_back(allreduce(one, opts));
    }
    return all_of(getRank(), std::move(works));
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::allgather_coalesced(std::vector<TensorList>& outputs,
                                                                    TensorList& inputs,
                                                                    const c10d::AllgatherOptions& opts) {
  return guarded([&] {
    check_pairs("all_gather_coalesced", outputs.size(), static_cast<size_t>(getSize()));
    for (const TensorList& of_rank : outputs) {
      check_pairs("all_gather_coalesced", of_rank.size(), inputs.size());
      check_each("all_gather_coalesced", of_rank, inputs);
      check_sizes("all_gather_coalesced", of_rank, inputs, 1);
    }
    std::vector<WorkPtr> works;
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::vector<TensorList> to(1);
      for (const TensorList& of_rank : outputs) to[0].push_back(of_rank[i]);
      TensorList from{inputs[i]};
      works.push_back(allgather(to, from, opts));
    }
    return all_of(getRank(), std::move(works));
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::allgather_into_tensor_coalesced(TensorList& outputs, TensorList& inputs,
                                                                                const c10d::AllgatherOptions& opts) {
  return guarded([&] {
    check_pairs("all_gather_into_tensor_coalesced", outputs.size(), inputs.size());
    check_each("all_gather_into_tensor_coalesced", outputs, inputs);
    check_sizes("all_gather_into_tensor_coalesced", outputs, inputs, getSize());
    std::vector<WorkPtr> works;
    for (size_t i = 0; i < inputs.size(); ++i) works.push_back(_allgather_base(outputs[i], inputs[i], opts));
    return all_of(getRank(), std::move(works));
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::reduce_scatter_tensor_coalesced(
    TensorList& outputs, TensorList& inputs, const c10d::ReduceScatterOptions& opts) {
  return guarded([&] {
    check_pairs("reduce_scatter_tensor_coalesced", outputs.size(), inputs.size());
    check_each("reduce_scatter_tensor_coalesced", outputs, inputs);
    check_sizes("reduce_scatter_tensor_coalesced", inputs, outputs, getSize());
    std::vector<WorkPtr> works;
    for (size_t i = 0; i < inputs.size(); ++i) works.push_back(_reduce_scatter_base(outputs[i], inputs[i], opts));
    return all_of(getRank(), std::move(works));
  });
}

}  // namespace pinnedpg
