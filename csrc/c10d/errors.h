// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <c10/util/Exception.h>

#include <exception>

#include "base/check.h"
#include "base/interrupt.h"

namespace pinnedpg {

/// Raises a group's fault as torch.distributed's own error class; all else as it is.
[[noreturn]] inline void rethrow_as_torch(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Interrupted& interrupted) {
    std::rethrow_exception(interrupted.cause);
  } catch (const GroupError& fault) {
    throw c10::DistBackendError({__func__, __FILE__, __LINE__}, fault.what());
  } catch (const ValueError& fault) {
    throw c10::ValueError({__func__, __FILE__, __LINE__}, fault.what());
  }
}

/// Runs `body`, raising its errors as torch's.
template <typename Body>
decltype(auto) with_torch_errors(Body&& body) {
  try {
    return body();
  } catch (const std::exception&) {
    rethrow_as_torch(std::current_exception());
  }
}

}  // namespace pinnedpg
