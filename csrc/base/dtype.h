// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <cstdint>

namespace pinnedpg {

/// What an element is, for those who reduce. Values are ours (they travel between ranks), not torch's.
enum class DType : uint8_t {
  kUInt8,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt16,
  kUInt32,
  kUInt64,
  kBool,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
  kComplex64,
  kComplex128,
  kFloat8E4M3FN,
  kFloat8E5M2,
  kFloat8E4M3FNUZ,
  kFloat8E5M2FNUZ,
};
inline constexpr int kDTypeCount = 19;

/// `kPremulSum` multiplies each source by its rank's own factor before it is added; `kAvg` divides the sum by the
/// number of sources.
enum class ReduceOp : uint8_t { kSum, kAvg, kProduct, kMin, kMax, kBand, kBor, kBxor, kPremulSum };
inline constexpr int kReduceOpCount = 9;

constexpr size_t element_bytes(DType dtype) {
  constexpr size_t bytes[kDTypeCount] = {1, 1, 2, 4, 8, 2, 4, 8, 1, 2, 2, 4, 8, 8, 16, 1, 1, 1, 1};
  return bytes[static_cast<int>(dtype)];
}

constexpr const char* dtype_name(DType dtype) {
  constexpr const char* names[kDTypeCount] = {
      "uint8",      "int8",          "int16",       "int32",           "int64",          "uint16",  "uint32",
      "uint64",     "bool",          "float16",     "bfloat16",        "float32",        "float64", "complex64",
      "complex128", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"};
  return names[static_cast<int>(dtype)];
}

constexpr const char* op_name(ReduceOp op) {
  constexpr const char* names[kReduceOpCount] = {"SUM",  "AVG", "PRODUCT", "MIN",       "MAX",
                                                 "BAND", "BOR", "BXOR",    "PREMUL_SUM"};
  return names[static_cast<int>(op)];
}

}  // namespace pinnedpg
