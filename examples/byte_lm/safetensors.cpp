// SPDX-License-Identifier: Apache-2.0
#include "safetensors.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace {

using json = nlohmann::json;

constexpr std::uint64_t length_bytes = 8;              // the header's length comes first
constexpr std::uint64_t longest_header = 100'000'000;  // the format's own limit

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  }
  return text + "]";
}

/// 0 for a type that the format does not have.
std::uint64_t element_bytes(std::string_view dtype) {
  constexpr std::array<std::pair<std::string_view, int>, 15> sizes{{{"BOOL", 1},
                                                                    {"U8", 1},
                                                                    {"I8", 1},
                                                                    {"F8_E4M3", 1},
                                                                    {"F8_E5M2", 1},
                                                                    {"U16", 2},
                                                                    {"I16", 2},
                                                                    {"F16", 2},
                                                                    {"BF16", 2},
                                                                    {"U32", 4},
                                                                    {"I32", 4},
                                                                    {"F32", 4},
                                                                    {"U64", 8},
                                                                    {"I64", 8},
                                                                    {"F64", 8}}};
  const auto* found =
      std::find_if(sizes.begin(), sizes.end(), [&](const auto& s) { return s.first == dtype; });
  return found == sizes.end() ? 0 : static_cast<std::uint64_t>(found->second);
}

/// Refuses what a plain parse would pass over in silence: a repeated name, and deep nesting.
class header_rules {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      if (depth > 2) {
        throw std::runtime_error("its header is nested too deeply");
      }
      names_.at(static_cast<std::size_t>(depth)).clear();
    } else if (event == json::parse_event_t::key) {
      auto name = parsed.get<std::string>();
      if (!names_.at(static_cast<std::size_t>(depth) - 1).insert(name).second) {
        throw std::runtime_error("its header has the name \"" + name + "\" twice");
      }
    }
    return true;
  }

 private:
  std::array<std::set<std::string>, 3> names_;  // of the object that is open at each depth
};

std::vector<std::uint64_t> unsigned_array(const json& value) {
  if (!value.is_array()) {
    throw std::runtime_error("not an array");
  }
  std::vector<std::uint64_t> result;
  for (const json& element : value) {
    if (!element.is_number_unsigned()) {
      throw std::runtime_error("not an array of non-negative integers");
    }
    result.push_back(element.get<std::uint64_t>());
  }
  return result;
}

tensor_entry parse_entry(const json& value) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    throw std::runtime_error("it needs dtype, shape and data_offsets, nothing else");
  }
  tensor_entry entry;
  if (!value["dtype"].is_string()) {
    throw std::runtime_error("its dtype is not a string");
  }
  entry.dtype = value["dtype"].get<std::string>();
  std::uint64_t bytes = element_bytes(entry.dtype);
  if (bytes == 0) {
    throw std::runtime_error("its dtype " + entry.dtype + " is unknown");
  }
  try {
    entry.shape = unsigned_array(value["shape"]);
  } catch (const std::runtime_error& e) {
    throw std::runtime_error(std::string("its shape is ") + e.what());
  }
  for (const std::uint64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      throw std::runtime_error("its shape " + shape_text(entry.shape) + " is beyond 64 bits");
    }
  }

  std::vector<std::uint64_t> offsets;
  try {
    offsets = unsigned_array(value["data_offsets"]);
  } catch (const std::runtime_error& e) {
    throw std::runtime_error(std::string("its data_offsets are ") + e.what());
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    throw std::runtime_error("its data_offsets " + shape_text(offsets) + " are no [begin, end]");
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  if (entry.end - entry.begin != bytes) {
    throw std::runtime_error("its shape " + shape_text(entry.shape) + " of " + entry.dtype +
                             " takes " + std::to_string(bytes) + " bytes, its data_offsets span " +
                             std::to_string(entry.end - entry.begin));
  }
  return entry;
}

}  // namespace

void safetensors_file::fail(const std::string& reason) const {
  throw std::runtime_error(path_.string() + ": " + reason);
}

safetensors_file::safetensors_file(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code status;
  if (!std::filesystem::exists(path_, status)) {
    fail(status ? status.message() : "no such file");
  }
  if (!std::filesystem::is_regular_file(path_, status)) {
    fail("not a regular file");
  }
  const std::uint64_t file_bytes = std::filesystem::file_size(path_, status);
  std::ifstream file(path_, std::ios::binary);
  if (status || !file) {
    fail("cannot be opened");
  }
  const auto read = [&](void* to, std::uint64_t bytes) {
    const auto count = static_cast<std::streamsize>(bytes);
    if (!file.read(static_cast<char*>(to), count) || file.gcount() != count) {
      fail("cannot be read to its end");
    }
  };

  if (file_bytes < length_bytes) {
    fail("not a safetensors file: " + std::to_string(file_bytes) + " bytes");
  }
  std::array<unsigned char, length_bytes> length{};
  read(length.data(), length_bytes);
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) {
    header_bytes |= static_cast<std::uint64_t>(length[i]) << (8 * i);
  }
  if (header_bytes > longest_header || header_bytes > file_bytes - length_bytes) {
    fail("cut off, or not a safetensors file: it announces a header of " +
         std::to_string(header_bytes) + " bytes and has " +
         std::to_string(file_bytes - length_bytes) + " bytes after the announcement");
  }
  std::string header(header_bytes, '\0');
  read(header.data(), header_bytes);
  parse_header(header);

  const std::uint64_t data_bytes = file_bytes - length_bytes - header_bytes;
  check_layout(data_bytes);
  data_.resize(data_bytes);
  read(data_.data(), data_bytes);
}

void safetensors_file::parse_header(const std::string& text) {
  json header;
  try {
    header = json::parse(text, header_rules{});
  } catch (const json::exception&) {
    fail("its header is not JSON");
  } catch (const std::runtime_error& e) {
    fail(e.what());
  }
  if (!header.is_object()) {
    fail("its header is not a JSON object");
  }
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, note] : value.items()) {
        if (!value.is_object() || !note.is_string()) {
          fail("its __metadata__ is not an object of strings");
        }
        metadata_[key] = note.get<std::string>();
      }
      continue;
    }
    try {
      tensors_[name] = parse_entry(value);
    } catch (const std::runtime_error& e) {
      fail("tensor " + name + ": " + e.what());
    }
  }
}

/// The tensors fill the data without gap or overlap.
void safetensors_file::check_layout(std::uint64_t data_bytes) const {
  std::vector<const std::pair<const std::string, tensor_entry>*> order;
  for (const auto& named : tensors_) {
    order.push_back(&named);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t filled = 0;
  for (const auto* named : order) {
    const tensor_entry& entry = named->second;
    if (entry.end > data_bytes) {
      fail("cut off: tensor " + named->first + " ends at byte " + std::to_string(entry.end) +
           " of the data, the file has " + std::to_string(data_bytes));
    }
    if (entry.begin != filled) {
      fail("tensor " + named->first + " begins at byte " + std::to_string(entry.begin) +
           " of the data, expected " + std::to_string(filled));
    }
    filled = entry.end;
  }
  if (filled != data_bytes) {
    fail("its tensors fill " + std::to_string(filled) + " bytes, the file has " +
         std::to_string(data_bytes));
  }
}

std::span<const std::byte> safetensors_file::tensor(const std::string& name,
                                                    const std::string& dtype,
                                                    const std::vector<std::uint64_t>& shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    fail("tensor " + name + " is missing");
  }
  const tensor_entry& entry = found->second;
  if (entry.dtype != dtype || entry.shape != shape) {
    fail("tensor " + name + ": expected " + dtype + " " + shape_text(shape) + ", got " +
         entry.dtype + " " + shape_text(entry.shape));
  }
  return std::span(data_).subspan(entry.begin, entry.end - entry.begin);
}
