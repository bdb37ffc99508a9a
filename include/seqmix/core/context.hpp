// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <seqmix/core/executor.hpp>
#include <span>
#include <string_view>

SEQMIX_BEGIN_NAMESPACE

/// Where an operator may run.
enum class device_policy {
  automatic,          ///< host tensors go to a GPU when that is known to be worth the transfer
  where_the_data_is,  ///< host tensors on the CPU, device tensors on their device
  cpu,                ///< the CPU, else an error
  cuda,               ///< a CUDA device, else an error
};

/// How much an operator verifies.
enum class check_level {
  standard,  ///< everything that can be checked without reading device memory
  full,      ///< also the contents of device offsets, which synchronises
};

/// Pins a choice that dispatch would make. Empty means free.
struct pin_options {
  std::string_view implementation{};  ///< a name that `explain` lists, for instance "flash"
  std::string_view algorithm{};       ///< one of its algorithms, for instance "split_kv"
  std::string_view isa{};             ///< an instruction set that `explain` names
};

/// How to run one call. A cheap value; the default is ready to use and single-threaded. Calls from
/// different threads may overlap when their workspaces do not.
struct context {
  executor_ref executor{};
  device_policy device = device_policy::automatic;
  void* cuda_stream = nullptr;
  std::span<std::byte> workspace{};  ///< scratch memory; without it a thread-local arena serves
  pin_options pin{};
  check_level check = check_level::standard;
};

SEQMIX_END_NAMESPACE
