// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "tp/issuer.h"
#include "tp/split.h"
#include "tp/tensors.h"
#include "tp/tp_exchange.h"

namespace pinnedpg::tp {

using TensorList = std::vector<at::Tensor>;

/// The raw split-typed API: one process, several devices, host buffers that all of them reach. Its functions check
/// everything (ValueError, nothing queued), then queue the call on the devices' streams and return. Any thread may call
/// them. What each does is said in pinnedpg/tp.py and tp_calls.py.
class TpContext {
 public:
  struct Settings {
    Splits splits;
    TensorList buffers;             ///< pinned_temp
    std::vector<uint64_t> streams;  ///< by device; 0: not used
    bool multithreaded = false;
    std::chrono::milliseconds timeout{600'000};  ///< of a leg that waits for its peers
  };

  /// Registers a new context and returns its handle.
  static uint64_t make(Settings settings);
  /// Raises ValueError, on behalf of `function`, if there is no context of that handle (any more).
  static std::shared_ptr<TpContext> find(const char* function, uint64_t handle);
  /// Waits for the context's work in flight and forgets it. Does nothing for one that was freed before.
  static void free(uint64_t handle);
  /// Makes all unfinished work of all contexts fail.
  static void abandon_all(const std::string& reason);

  explicit TpContext(Settings settings);

  void broadcast(int buffer, const at::Tensor& source, int type, const TensorList& targets, int t_device);
  /// `function`: tp_gather or tp_gather_barrier, for error texts. `barrier` may be null.
  void gather(const char* function, int buffer, const TensorList& inputs, int type, const TensorList& targets,
              int type_target, int64_t dim, int t_device, Barrier* barrier);
  void cross_device_barrier(int type, int t_device, int stage, int next_stage);
  void all_reduce(int buffer, const TensorList& tensors, const TensorList& residuals);
  void synchronize(int buffer, const Patience& patience);
  void set_multithreaded(bool multithreaded) { issuer_.set_multithreaded(multithreaded); }

 private:
  const Split& split(const char* function, const char* argument, int type) const;
  void check_buffer(const char* function, int buffer) const;
  void check_fits(const char* function, int buffer, const char* what, size_t bytes) const;
  void check_length(const Argument& argument, const TensorList& tensors, size_t expected, int type) const;
  Team& team(const char* function, const std::vector<int>& devices, int t_device);
  /// The buffer, if it is one, and those in which the tensors lie.
  std::vector<int> buffers_under(int buffer, const std::vector<Matrix>& matrices) const;
  std::vector<Matrix> check_outputs(const char* function, const TensorList& targets, int type_target,
                                    const Matrix& whole) const;
  static std::vector<Placed> place(const std::vector<Matrix>& matrices, const Split& shares, const Team& team);

  /// Where the tensors of those devices must lie.
  std::vector<int> places(const std::vector<int>& devices) const;
  std::vector<int> places(const Split& shares) const;
  /// Of tensors that name no split: on GPUs they say it themselves.
  std::vector<int> owners(const TensorList& tensors) const;

  const Splits splits_;
  const std::vector<Region> buffers_;
  Issuer issuer_;
};

}  // namespace pinnedpg::tp
