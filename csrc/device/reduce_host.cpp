// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "base/check.h"
#include "device/reduce.h"
#include "device/reduce_op.h"
#include "device/reduce_table.h"

namespace pinnedpg {
namespace {

constexpr const char* kNames[] = {
    "default",
#ifdef __x86_64__
    "avx2",
    "avx512",
#endif
};

constexpr const ReduceTable* kTables[] = {
    &kReduceDefault,
#ifdef __x86_64__
    &kReduceAvx2,
    &kReduceAvx512,
#endif
};

/// How many of the tables this machine can run: each set contains the ones before it. The loader has asked the
/// processor (and the system, which must save the registers) already, so this is a few loads: cheaper than state of our
/// own.
size_t usable_tables() {
#ifdef __x86_64__
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))) return 1;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return avx512 ? 3 : 2;
#else
  return 1;
#endif
}

void reduce_with(const ReduceTable& table, void* dst, std::span<const void* const> srcs, size_t count,
                 Reduction reduction, std::span<const double> factors) {
  PINNEDPG_CHECK(can_reduce(reduction), "reduce: ", op_name(reduction.op), " has no meaning for ",
                 dtype_name(reduction.dtype));
  PINNEDPG_CHECK(!srcs.empty(), "reduce: at least one source is needed; got none");
  const size_t factor_count = reduction.op == ReduceOp::kPremulSum ? srcs.size() : 0;
  PINNEDPG_CHECK(factors.size() == factor_count, "reduce: ", op_name(reduction.op), " of ", srcs.size(),
                 " sources needs ", factor_count, " factors; got ", factors.size());
  const Lowered lowered = lower(reduction.dtype, reduction.op);
  const ReduceKernel kernel = table.kernels[static_cast<int>(lowered.dtype)][static_cast<int>(lowered.op)];
  kernel(dst, srcs.data(), srcs.size(), count * lowered.parts, factors.data());
}

}  // namespace

bool can_reduce(Reduction reduction) { return supports(reduction.dtype, reduction.op); }

void reduce_host(void* dst, std::span<const void* const> srcs, size_t count, Reduction reduction,
                 std::span<const double> factors) {
  reduce_with(*kTables[usable_tables() - 1], dst, srcs, count, reduction, factors);
}

std::span<const char* const> reduce_isas() { return std::span(kNames).first(usable_tables()); }

void reduce_host_with(std::string_view isa, void* dst, std::span<const void* const> srcs, size_t count,
                      Reduction reduction, std::span<const double> factors) {
  for (size_t i = 0; i < usable_tables(); ++i) {
    if (isa == kNames[i]) return reduce_with(*kTables[i], dst, srcs, count, reduction, factors);
  }
  throw ValueError(concat("reduce: the instruction set must be one of reduce_isas(); got ", isa));
}

}  // namespace pinnedpg
