// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/context.hpp>
#include <seqmix/core/error.hpp>
#include <string_view>

SEQMIX_BEGIN_NAMESPACE

namespace dispatch {

/// Text in place, so that an answer is plain data; what does not fit is cut off.
template <std::size_t Capacity>
struct fixed_text {
  char data[Capacity] = {};

  constexpr fixed_text() = default;
  constexpr fixed_text(std::string_view text) noexcept { append(text); }
  constexpr fixed_text(const char* text) noexcept : fixed_text(std::string_view(text)) {}

  constexpr void append(std::string_view text) noexcept {
    std::size_t n = view().size();
    for (std::size_t i = 0; i < text.size() && n + 1 < Capacity; ++i) {
      data[n++] = text[i];
    }
  }
  constexpr std::string_view view() const noexcept { return std::string_view(data); }
  constexpr bool empty() const noexcept { return data[0] == '\0'; }
};

/// What an implementation answers when it is asked for a problem.
struct offer {
  fixed_text<128> lacks{};     ///< the feature that it lacks; empty when it accepts
  fixed_text<64> algorithm{};  ///< how it would compute
  fixed_text<64> target{};     ///< the instruction set or the GPU
  std::int64_t splits = 1;     ///< parts of the longest key range that are computed apart
  std::size_t workspace_bytes = 0;

  constexpr bool accepts() const noexcept { return lacks.empty(); }
};

enum class processor { cpu, cuda };

/// One way to compute an operator: a name and two functions. Problem is the operator's descriptor,
/// plain data.
template <class Problem>
struct implementation {
  const char* name;
  processor runs_on = processor::cpu;
  /// Whether it can compute the problem, and how. Launches nothing.
  offer (*query)(const Problem&, const context&) = nullptr;
  /// Computes a problem that `query` accepted, with `offer::workspace_bytes` bytes of scratch.
  detail::violation (*run)(const Problem&, const context&, std::byte* scratch) = nullptr;
  /// Whether it is taken without a pin.
  bool automatic = true;
};

/// A compiled back-end's entry for one operator. It is registered from a static initialiser and
/// lives as long as the program.
template <class Problem>
struct backend {
  implementation<Problem> entry;
  int preference = 0;  ///< larger is asked first
  backend* next = nullptr;
};

/// The back-ends of one operator that are linked into the program.
template <class Problem>
class registry {
 public:
  /// Adds a back-end; safe from any static initialiser, in any order. Two of equal preference
  /// differ in their names, and none is added twice.
  static void add(backend<Problem>& b) noexcept {
    backend<Problem>* head = head_().load(std::memory_order_relaxed);
    do {
      b.next = head;
    } while (!head_().compare_exchange_weak(head, &b, std::memory_order_release,
                                            std::memory_order_relaxed));
  }

  /// The back-end to ask next: the first in order of preference, then of name, that comes after
  /// `previous` (null: the very first). Null when there is none. Allocates nothing.
  static const backend<Problem>* after(const backend<Problem>* previous) noexcept {
    const backend<Problem>* best = nullptr;
    for (const auto* b = head_().load(std::memory_order_acquire); b != nullptr; b = b->next) {
      if ((previous == nullptr || comes_before(*previous, *b)) &&
          (best == nullptr || comes_before(*b, *best))) {
        best = b;
      }
    }
    return best;
  }

 private:
  static bool comes_before(const backend<Problem>& a, const backend<Problem>& b) noexcept {
    return a.preference != b.preference
               ? a.preference > b.preference
               : std::string_view(a.entry.name) < std::string_view(b.entry.name);
  }

  static std::atomic<backend<Problem>*>& head_() noexcept {
    static constinit std::atomic<backend<Problem>*> head{nullptr};
    return head;
  }
};

}  // namespace dispatch

SEQMIX_END_NAMESPACE
