// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/tensors.h"

#include <c10/core/ScalarType.h>

#include "base/check.h"
#include "memory/label.h"
#include "torch_glue/reduce_dtype.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg::tp {

namespace {

/// How far the rows of a tensor are apart, in elements. Raises where no one number says it.
int64_t row_stride(const Argument& argument, const at::Tensor& tensor) {
  int64_t stride = tensor.size(-1), extent = 0;  // extent: of the dimensions taken together so far; 0: none yet
  bool even = tensor.size(-1) <= 1 || tensor.stride(-1) == 1;
  for (int64_t i = tensor.dim() - 2; i >= 0; --i) {
    if (tensor.size(i) == 1) continue;
    if (extent == 0) {
      stride = tensor.stride(i);
      extent = stride * tensor.size(i);
    } else {
      even &= tensor.stride(i) == extent;
      extent *= tensor.size(i);
    }
  }
  PINNEDPG_CHECK(even || tensor.numel() == 0, argument,
                 " must be viewable as evenly spaced rows of contiguous elements; got shape ", tensor.sizes(),
                 ", strides ", tensor.strides(), ". Call .contiguous() first");
  return stride;
}

void check_place(const Argument& argument, const at::Tensor& tensor, int gpu) {
  if (gpu == kOnHost) {
    PINNEDPG_CHECK(tensor.device().is_cpu(), argument,
                   " must be a CPU tensor, since the context's devices are host devices; got one on ", tensor.device());
    return;
  }
  const bool is_there = tensor.device().type() == gpu_type() && (gpu_of(tensor) == gpu || gpu_of(tensor) < 0);
  PINNEDPG_CHECK(is_there, argument, " must be on GPU ", gpu, ", the device of its share; got one on ",
                 tensor.device());
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Argument& argument) {
  out << argument.function << ": " << argument.name;
  if (argument.index >= 0) out << '[' << argument.index << ']';
  return out;
}

size_t Matrix::element_bytes() const { return c10::elementSize(type); }

Matrix matrix_of(const Argument& argument, const at::Tensor& tensor, int gpu) {
  PINNEDPG_CHECK(tensor.defined(), argument, " must be a tensor; got None");
  PINNEDPG_CHECK(tensor.layout() == at::kStrided, argument, " must be dense; got layout ", tensor.layout());
  check_place(argument, tensor, gpu);
  PINNEDPG_CHECK(
      !tensor.is_conj() && !tensor.is_neg(), argument,
      " must hold its values as they are; got a lazy conjugate or negative. Call .resolve_conj().resolve_neg()");
  PINNEDPG_CHECK(tensor.dim() >= 1, argument, " must have at least 1 dimension; got a scalar");
  Matrix matrix;
  matrix.type = tensor.scalar_type();
  matrix.cols = tensor.size(-1);
  matrix.rows = 1;
  for (int64_t i = 0; i + 1 < tensor.dim(); ++i) matrix.rows *= tensor.size(i);
  const size_t element = matrix.element_bytes();
  const size_t row_bytes = static_cast<size_t>(matrix.cols) * element;
  const size_t pitch = static_cast<size_t>(row_stride(argument, tensor)) * element;
  matrix.region = {static_cast<std::byte*>(tensor.data_ptr()), row_bytes, static_cast<size_t>(matrix.rows),
                   matrix.rows <= 1 ? row_bytes : pitch};
  return matrix;
}

Matrix written_matrix_of(const Argument& argument, const at::Tensor& tensor, int gpu) {
  const Matrix matrix = matrix_of(argument, tensor, gpu);
  PINNEDPG_CHECK(matrix.rows <= 1 || matrix.region.pitch >= matrix.region.row_bytes, argument,
                 " must not overlap itself, since it is written; got shape ", tensor.sizes(), ", strides ",
                 tensor.strides());
  return matrix;
}

std::vector<Matrix> written_matrices_of(const char* function, const char* name, const std::vector<at::Tensor>& tensors,
                                        const std::vector<int>& gpus) {
  std::vector<Matrix> matrices;
  for (size_t i = 0; i < tensors.size(); ++i) {
    matrices.push_back(written_matrix_of({function, name, static_cast<int64_t>(i)}, tensors[i], gpus[i]));
  }
  return matrices;
}

void check_type(const Argument& argument, const Matrix& matrix, const char* other, at::ScalarType type) {
  PINNEDPG_CHECK(matrix.type == type, argument, " must be ", type_name(type), " like ", other, "; got ",
                 type_name(matrix.type));
}

void check_alike(const Argument& argument, const Matrix& matrix, const char* other, const Matrix& reference) {
  check_type(argument, matrix, other, reference.type);
  PINNEDPG_CHECK(matrix.rows == reference.rows && matrix.cols == reference.cols, argument, " must have ",
                 reference.rows, " rows of ", reference.cols, " elements like ", other, "; got ", matrix.rows,
                 " rows of ", matrix.cols);
}

void check_clear(const Argument& argument, const Matrix& matrix, const Region& stage, const Region& own_place,
                 int buffer) {
  PINNEDPG_CHECK(!overlap(matrix.region, stage) || same_place(matrix.region, own_place), argument,
                 " must not share memory with the first ", stage.bytes(), " bytes of pinned_temp[", buffer,
                 "], which the call writes, unless it is the very place of its own data there");
}

std::string type_name(at::ScalarType type) { return concat("torch.", dtype_text(dtype_label(type))); }

}  // namespace pinnedpg::tp
