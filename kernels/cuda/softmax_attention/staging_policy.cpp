// SPDX-License-Identifier: Apache-2.0
#include "staging_policy.hpp"

#include <mutex>
#include <optional>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

/// In order of preference; the last entry is for every GPU that nobody has measured.
constexpr staging_constants table[] = {
    {.gpu = "NVIDIA H200",
     .pageable_bytes_per_second = 8e9,
     .pinned_bytes_per_second = 50e9,
     .operations_per_second = 200e12,
     .fixed_seconds = 60e-6,
     .context_seconds = 0.4},
    {},
};

struct override_slot {
  std::mutex guard;
  std::optional<staging_constants> constants;
};
override_slot& overridden() {
  static override_slot slot;
  return slot;
}

}  // namespace

staging_constants staging_constants_for(std::string_view gpu) {
  override_slot& slot = overridden();
  const std::lock_guard lock(slot.guard);
  if (slot.constants) {
    return *slot.constants;
  }
  for (const staging_constants& c : table) {
    if (gpu.substr(0, c.gpu.size()) == c.gpu) {
      return c;
    }
  }
  return {};
}

void set_staging_constants(const staging_constants& constants) {
  override_slot& slot = overridden();
  const std::lock_guard lock(slot.guard);
  slot.constants = constants;
}

void reset_staging_constants() {
  override_slot& slot = overridden();
  const std::lock_guard lock(slot.guard);
  slot.constants.reset();
}

bool worth_staging(const staging_constants& c, const staging_work& work) noexcept {
  if (work.operations < least_staged_operations) {
    return false;
  }
  const double copy =
      work.bytes / (work.pinned ? c.pinned_bytes_per_second : c.pageable_bytes_per_second);
  const double gpu = copy + work.operations / c.operations_per_second + c.fixed_seconds +
                     (work.has_context ? 0 : c.context_seconds);
  const double cpu = work.operations / (c.cpu_operations_per_second * work.threads);
  return gpu < cpu;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
