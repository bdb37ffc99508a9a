// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

/// Where a tensor lies in the file's data, and as what.
struct tensor_entry {
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// A safetensors file in memory. The constructor throws std::runtime_error, which names the file
/// and the reason, for anything that is not a whole and consistent file; no size that the file
/// claims is believed, nor memory allocated for it, before the file's own size confirms it.
class safetensors_file {
 public:
  explicit safetensors_file(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::size_t tensor_count() const { return tensors_.size(); }

  /// Bytes of the tensor of that name, little-endian and row-major. Throws unless it is there and
  /// has just that type and shape.
  std::span<const std::byte> tensor(const std::string& name, const std::string& dtype,
                                    const std::vector<std::uint64_t>& shape) const;

  [[noreturn]] void fail(const std::string& reason) const;

 private:
  void parse_header(const std::string& text);
  void check_layout(std::uint64_t data_bytes) const;

  std::filesystem::path path_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, tensor_entry> tensors_;
  std::vector<std::byte> data_;
};
