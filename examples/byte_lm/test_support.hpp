// SPDX-License-Identifier: Apache-2.0
// What the test files share.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <seqmix/core/executor.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

/// A file that is gone when its case ends.
class temporary_file {
 public:
  explicit temporary_file(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~temporary_file() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_ = std::filesystem::temp_directory_path() /
                                ("byte_lm_test." + std::to_string(getpid()) + ".safetensors");
};

inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  REQUIRE(from.size() == to.size());  // the header's length and all offsets stay
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

/// Why a file of that content is refused; empty when it is not.
template <class T>
std::string refusal(const std::string& content) {
  const temporary_file file(content);
  try {
    const T taken(file.path());
  } catch (const std::runtime_error& e) {
    const std::string what = e.what();
    const std::string path = file.path().string() + ": ";
    CHECK(what.substr(0, path.size()) == path);
    return what.substr(std::min(path.size(), what.size()));
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Two workers take turns, last index first.
struct backwards_executor {
  static int concurrency() { return 2; }
  static void run(std::int64_t n, seqmix::task_ref task) {
    for (std::int64_t index = n; index-- > 0;) {
      task(index, static_cast<int>(index % 2));
    }
  }
};
