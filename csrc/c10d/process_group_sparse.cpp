// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// all_reduce of sparse tensors: each rank gathers the elements of all ranks, and sums those with equal indices.
#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "c10d/process_group.h"
#include "collective/collectives.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

using collectives::Seat;

namespace {

/// Returns a hash of the shape, which is equal for tensors that can be added.
uint64_t hash_shape(const at::Tensor& tensor) {
  uint64_t hash = static_cast<uint64_t>(tensor.sparse_dim());
  for (const int64_t size : tensor.sizes()) hash = (hash ^ static_cast<uint64_t>(size)) * 0xff51afd7ed558ccd;
  return hash | 1;
}

/// Whether torch adds up elements of the type.
bool has_sum(at::ScalarType type) {
  static constexpr at::ScalarType known[] = {at::kByte, at::kChar,     at::kShort, at::kInt,   at::kLong,
                                             at::kHalf, at::kBFloat16, at::kFloat, at::kDouble};
  return std::find(std::begin(known), std::end(known), type) != std::end(known);
}

/// One sparse tensor on its way to the sum of all ranks'.
class SparseSum {
 public:
  SparseSum(Seat seat, at::Tensor tensor)
      : seat_(seat),
        tensor_(std::move(tensor)),
        type_(tensor_.scalar_type()),
        shape_(hash_shape(tensor_)),
        counts_(static_cast<size_t>(seat.world_size)) {}

  /// Reads the tensor when the call starts, and gathers the number of elements of each rank.
  Call::Leg tell(Memory* memory) {
    const c10::InferenceMode as_the_tensor(tensor_.is_inference());
    const at::NoGradGuard off;
    TORCH_CHECK(tensor_.scalar_type() == type_ && hash_shape(tensor_) == shape_,
                "all_reduce: a sparse tensor must keep its type and shape while the call is under way");
    const at::Tensor own = sums_in() == type_ ? tensor_.coalesce() : tensor_;  // else that would round
    indices_ = own._indices().t().contiguous();  // a row for each element, so that rows of ranks follow one another
    values_ = own._values().contiguous();
    counts_[static_cast<size_t>(seat_.rank)] = indices_.size(0);
    std::vector<Region> counts;
    for (int64_t& count : counts_) counts.push_back(Region::flat(&count, sizeof(count)));
    return collectives::all_gather(seat_.in(memory), counts[static_cast<size_t>(seat_.rank)], counts);
  }

  /// Gathers the indices, then the values, and then writes the sum to the tensor.
  bool next(Call::Legs& legs) {
    if (++round_ == 1) return gather(indices_, legs);
    if (round_ == 2) return gather(values_, legs);
    const c10::InferenceMode as_the_tensor(tensor_.is_inference());
    const at::NoGradGuard off;
    const at::Tensor all = at::sparse_coo_tensor(indices_.t(), values_.to(sums_in()), tensor_.sizes());
    tensor_.copy_(all.coalesce().to(type_));
    return false;
  }

 private:
  /// `rows` become all ranks' rows.
  bool gather(at::Tensor& rows, Call::Legs& legs) {
    own_ = rows;
    std::vector<int64_t> sizes = rows.sizes().vec();
    sizes[0] = std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
    rows = at::empty(sizes, rows.options());
    std::vector<Region> parts;
    int64_t begun = 0;
    for (const int64_t count : counts_) {
      parts.push_back(region_of(rows.narrow(0, begun, count)));
      begun += count;
    }
    legs = {collectives::all_gather(seat_, region_of(own_), parts)};
    return true;
  }

  /// 16-bit floats are added up in float32, and rounded once.
  at::ScalarType sums_in() const { return at::isReducedFloatingType(type_) ? at::kFloat : type_; }

  const Seat seat_;
  const at::Tensor tensor_;
  const at::ScalarType type_;
  const uint64_t shape_;
  std::vector<int64_t> counts_;  ///< elements by rank
  at::Tensor indices_, values_, own_;
  int round_ = 0;
};

void check_sparse(const std::vector<at::Tensor>& tensors, const c10d::AllreduceOptions& opts) {
  PINNEDPG_CHECK(tensors.size() == 1, "all_reduce: there must be one sparse tensor; got ", tensors.size());
  const at::Tensor& tensor = tensors[0];
  PINNEDPG_CHECK(tensor.is_sparse() && (tensor.device().is_cpu() || tensor.device().type() == gpu_type()),
                 "all_reduce: a sparse tensor must be of layout ", at::kSparse, " and on the CPU or a GPU; got layout ",
                 tensor.layout(), " on ", tensor.device(), ". Call .to_dense() first");
  PINNEDPG_CHECK(!tensor.is_view() || tensor.is_complex() == tensor._base().is_complex(),
                 "all_reduce: a sparse tensor must be real: torch hands over its own view of a complex one, to which "
                 "no element can be added. Call .to_dense() first");
  PINNEDPG_CHECK(opts.reduceOp.op_ == c10d::ReduceOp::SUM,
                 "all_reduce: the op for sparse tensors must be SUM. Call .to_dense() first, or divide the sum");
  PINNEDPG_CHECK(has_sum(tensor.scalar_type()), "all_reduce: torch must sum sparse tensors of the dtype; got torch.",
                 dtype_text(dtype_label(tensor.scalar_type())), ". Call .to_dense() first");
}

}  // namespace

ProcessGroupPinned::WorkPtr ProcessGroupPinned::allreduce_sparse(TensorList& tensors,
                                                                 const c10d::AllreduceOptions& opts) {
  return guarded([&] {
    check_sparse(tensors, opts);
    if (!tensors[0].device().is_cpu()) return allreduce_sparse_on_gpu(tensors, opts);
    const at::Tensor& tensor = tensors[0];
    auto call =
        request(CallKind::kAllReduce, c10d::OpType::_ALLREDUCE_SPARSE, "pinned:all_reduce", opts.timeout, opts.asyncOp);
    call.tensors.input(tensor._values());  // the type
    label_reduction(call, opts.reduceOp);
    call.label.count = static_cast<uint64_t>(tensor.numel());
    call.label.layout = hash_shape(tensor);
    call.tell(tensors, tensors);
    const auto sum = std::make_shared<SparseSum>(Seat{getRank(), getSize()}, tensor);
    return run(
        call, [sum](const Geometry&, int, Memory* memory) { return sum->tell(memory); },
        [sum](Call::Legs& legs) { return sum->next(legs); });
  });
}

/// Sums on the CPU, as gloo does. The host waits for the GPU and for the other ranks, even with asyncOp: torch needs
/// the number of elements to allocate the result, and that number is not known before.
ProcessGroupPinned::WorkPtr ProcessGroupPinned::allreduce_sparse_on_gpu(TensorList& tensors,
                                                                        c10d::AllreduceOptions opts) {
  const bool async = std::exchange(opts.asyncOp, false);
  TensorList sums{tensors[0].cpu()};
  if (const auto work = allreduce_sparse(sums, opts)) work->wait();
  {
    const c10::InferenceMode as_the_tensor(tensors[0].is_inference());
    const at::NoGradGuard off;
    tensors[0].copy_(sums[0]);  // returns once it is done
  }
  if (!async) return nullptr;
  auto work = c10::make_intrusive<WorkPinned>(getRank(), c10d::OpType::_ALLREDUCE_SPARSE, "all_reduce", sequence_,
                                              opts.timeout, tensors);
  work->complete(nullptr);
  return work;
}

}  // namespace pinnedpg
