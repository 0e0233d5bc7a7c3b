// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <utility>
#include <vector>

#include "base/region.h"
#include "base/scratch.h"
#include "torch_glue/reduce_dtype.h"

namespace pinnedpg {

/// The memory of a contiguous tensor.
Region region_of(const at::Tensor& tensor);

/// The tensors of one call as flat regions. Those that are not contiguous are staged in contiguous ones, which
/// `read` fills and `write_back` empties. Keeps all memory alive.
class Tensors {
 public:
  /// `on_host`: those of GPUs are staged on the host too.
  explicit Tensors(const char* operation, Memory* memory = std::pmr::get_default_resource(), bool on_host = false)
      : operation_(operation), on_host_(on_host), kept_(memory), reads_(memory), copies_(memory) {}

  Region input(const at::Tensor& tensor);
  Region output(const at::Tensor& tensor) { return result(tensor, false); }
  Region input_output(const at::Tensor& tensor) { return result(tensor, true); }
  /// A copy of an input that overlaps an output in a way that no schedule could heed.
  Region copied_input(const at::Tensor& tensor);

  /// Raises unless the tensor is one that can take part, of the type of all others of the call.
  void check(const at::Tensor& tensor, const char* what);

  /// Fills the copies of inputs with what those hold now: once it is the call's turn.
  void read();
  bool reads() const { return !reads_.empty(); }
  void write_back();
  bool writes_back() const { return !copies_.empty(); }

  /// Keeps none any more. Those of GPUs are let go of aside: this may be their last holder.
  void let_go();

  const char* operation() const { return operation_; }
  /// Whether they are on GPUs (and not on the host).
  bool on_gpus() const;
  /// The GPUs that they are on.
  std::vector<int> gpus() const;
  /// The GPU of a region's memory, which is of one of them; -1: of none.
  int gpu_of(const Region& region) const;
  at::ScalarType type() const { return type_; }

 private:
  Region result(const at::Tensor& tensor, bool read);
  Region keep(at::Tensor tensor);
  bool is_plain(const at::Tensor& tensor) const;
  at::Tensor staged(const at::Tensor& tensor) const;

  const char* operation_;
  bool on_host_;
  at::DeviceType device_type_ = at::kCPU;
  at::ScalarType type_ = at::ScalarType::Undefined;
  std::pmr::vector<at::Tensor> kept_;
  std::pmr::vector<std::pair<at::Tensor, at::Tensor>> reads_, copies_;  ///< (the user's, ours)
};

/// The sizes of uneven lists as one number, for the fingerprint; 0 where all are equal.
uint64_t hash_layout(std::span<const Region> regions);

using Regions = std::pmr::vector<Region>;

/// Equal parts of a flat region.
Regions split_evenly(const Region& whole, int parts, Memory* memory = std::pmr::get_default_resource());

/// Whether two flat regions share memory.
bool overlap(const Region& one, const Region& other);

/// Members of one process write their tensors one after the other: none may be another's too. Raises ValueError.
void check_apart(const char* operation, std::span<const Region> regions);

/// Whether they share memory other than by being the same one: a copy between them by chunks could read what it wrote.
bool overlap_partly(const Region& one, const Region& other);

}  // namespace pinnedpg
