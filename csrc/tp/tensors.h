// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/core/Tensor.h>

#include <ostream>
#include <string>
#include <vector>

#include "tp/regions.h"

namespace pinnedpg::tp {

/// An argument as error texts name it: "tp_gather: inputs[2]".
struct Argument {
  const char* function;
  const char* name;
  int64_t index = -1;
};
std::ostream& operator<<(std::ostream& out, const Argument& argument);

/// A tensor as the rows of a matrix: [..., cols], the leading dimensions taken together.
struct Matrix {
  Region region;
  int64_t rows = 0;
  int64_t cols = 0;
  at::ScalarType type = at::ScalarType::Undefined;

  size_t element_bytes() const;
};

/// Where a tensor must lie that a call takes: on a GPU of that ordinal, or on the host.
constexpr int kOnHost = -1;

/// Reads a tensor's geometry. Raises ValueError unless it is a dense tensor, there, of one or more dimensions whose
/// rows are contiguous and evenly spaced. What is to be written may not overlap itself.
Matrix matrix_of(const Argument& argument, const at::Tensor& tensor, int gpu);
Matrix written_matrix_of(const Argument& argument, const at::Tensor& tensor, int gpu);
/// One GPU for each tensor.
std::vector<Matrix> written_matrices_of(const char* function, const char* name, const std::vector<at::Tensor>& tensors,
                                        const std::vector<int>& gpus);

/// Raises ValueError unless both have the same type, number of elements and last dimension. `other` names the second.
void check_alike(const Argument& argument, const Matrix& matrix, const char* other, const Matrix& reference);
void check_type(const Argument& argument, const Matrix& matrix, const char* other, at::ScalarType type);

/// "torch.float16".
std::string type_name(at::ScalarType type);

/// Raises ValueError if a tensor that takes part lies in the part of pinned_temp[buffer] that a call writes, except
/// where its own data is to be anyway.
void check_clear(const Argument& argument, const Matrix& matrix, const Region& stage, const Region& own_place,
                 int buffer);

}  // namespace pinnedpg::tp
