// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "model.hpp"
#include "predict.hpp"
#include "safetensors.hpp"
#include "test_support.hpp"

namespace {

const std::filesystem::path shipped = BYTE_LM_DATA_DIR "/byte_lm.safetensors";

std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>(value >> (8 * i) & 0xff);
  }
  return bytes;
}

std::string with_header(const std::string& header, std::size_t data_bytes) {
  return little_endian(header.size()) + header + std::string(data_bytes, '\0');
}

// Two tensors of 8 and 6 bytes, and an empty one.
const std::string good_header = R"({"__metadata__":{"a":"b"},)"
                                R"("x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                                R"("none":{"dtype":"F32","shape":[0,7],"data_offsets":[8,8]},)"
                                R"("y":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}})";

}  // namespace

TEST_CASE("a whole file is read") {
  const temporary_file file(with_header(good_header + "  ", 12) + "\x80\x3f");
  const safetensors_file tensors(file.path());
  CHECK(tensors.tensor_count() == 3);
  CHECK(tensors.metadata().at("a") == "b");
  CHECK(tensors.tensor("x", "F32", {2, 1}).size() == 8);
  CHECK(tensors.tensor("none", "F32", {0, 7}).empty());
  const auto y = tensors.tensor("y", "BF16", {3});
  REQUIRE(y.size() == 6);
  CHECK(y[4] == std::byte{0x80});
  CHECK(y[5] == std::byte{0x3f});
  CHECK_THROWS_AS(tensors.tensor("z", "BF16", {3}), std::runtime_error);
  CHECK_THROWS_AS(tensors.tensor("y", "F16", {3}), std::runtime_error);
  CHECK_THROWS_AS(tensors.tensor("y", "BF16", {1, 3}), std::runtime_error);
}

TEST_CASE("a file that is cut off anywhere is refused") {
  const std::string whole = with_header(good_header, 14);
  REQUIRE(refusal<safetensors_file>(whole).empty());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    INFO("length " << length);
    CHECK_FALSE(refusal<safetensors_file>(whole.substr(0, length)).empty());
  }
  const std::string weights = content_of(shipped);
  for (const std::size_t length : {std::size_t{8}, std::size_t{4039}, std::size_t{4040},
                                   std::size_t{4041}, weights.size() / 2, weights.size() - 1}) {
    INFO("length " << length);
    CHECK(contains(refusal<model>(weights.substr(0, length)), "cut off"));
  }
}

TEST_CASE("a header's length is not believed") {
  for (const std::uint64_t length :
       {std::uint64_t{1} << 63, ~std::uint64_t{0}, std::uint64_t{1} << 32,
        static_cast<std::uint64_t>(good_header.size()) + 15}) {
    INFO("length " << length);
    CHECK(contains(
        refusal<safetensors_file>(little_endian(length) + good_header + std::string(14, '\0')),
        "announces a header of " + std::to_string(length)));
  }
}

TEST_CASE("an inconsistent header is refused") {
  struct broken {
    std::string entries;
    std::string reason;
  };
  const auto x = [](const std::string& dtype, const std::string& shape,
                    const std::string& offsets) {
    return R"("x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  const std::string f32 = R"("F32")";
  const std::string y = R"(,"y":{"dtype":"U8","shape":[4],"data_offsets":)";
  const std::vector<broken> cases{
      {x(f32, "[2]", "[0,4]"), "takes 8 bytes, its data_offsets span 4"},
      {x(f32, "[3]", "[0,12]"), "cut off: tensor x ends at byte 12"},
      {x(f32, "[2]", "[4,12]"), "cut off: tensor x ends at byte 12"},
      {x(f32, "[1]", "[4,8]"), "begins at byte 4 of the data, expected 0"},
      {x(f32, "[1]", "[0,4]"), "its tensors fill 4 bytes, the file has 8"},
      {x(f32, "[1]", "[0,4]") + y + "[2,6]}", "begins at byte 2 of the data, expected 4"},
      {x(f32, "[2]", "[8,0]"), "are no [begin, end]"},
      {x(f32, "[2]", "[0,4,8]"), "are no [begin, end]"},
      {x(f32, "[2]", "[0,8.0]"), "data_offsets are not an array of non-negative integers"},
      {x(f32, "[-2]", "[0,8]"), "shape is not an array of non-negative integers"},
      {x(f32, "2", "[0,8]"), "shape is not an array"},
      {x(f32, "[99999999999999999999]", "[0,8]"), "shape is not an array of non-negative integers"},
      {x(f32, "[4294967296,4294967296,4]", "[0,8]"), "is beyond 64 bits"},
      {x(f32, "[[2]]", "[0,8]"), "nested too deeply"},
      {x(R"("F31")", "[2]", "[0,8]"), "dtype F31 is unknown"},
      {x("32", "[2]", "[0,8]"), "dtype is not a string"},
      {x(f32, "[1]", "[0,4]") + "," + x(f32, "[1]", "[4,8]"), R"(has the name "x" twice)"},
      {R"("x":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]})", "\"dtype\" twice"},
      {R"("x":{"dtype":"F32","shape":[2]})", "needs dtype, shape and data_offsets"},
      {R"("x":[0,8])", "needs dtype, shape and data_offsets"},
      {R"("__metadata__":{"a":1},)" + x(f32, "[2]", "[0,8]"), "not an object of strings"},
      {R"("__metadata__":"a",)" + x(f32, "[2]", "[0,8]"), "not an object of strings"},
      {R"("x":)", "not JSON"},
  };
  for (const broken& c : cases) {
    INFO(c.entries);
    const std::string why = refusal<safetensors_file>(with_header("{" + c.entries + "}", 8));
    INFO(why);
    CHECK(contains(why, c.reason));
  }
  CHECK(contains(refusal<safetensors_file>(with_header("not JSON", 8)), "not JSON"));
  CHECK(contains(refusal<safetensors_file>(with_header("[]", 0)), "not a JSON object"));
  CHECK(contains(refusal<safetensors_file>(with_header(std::string(100'000, '['), 0)),
                 "nested too deeply"));
}

TEST_CASE("weights of another model are refused") {
  const std::string weights = content_of(shipped);
  CHECK(refusal<model>(weights).empty());
  const auto refused = [&](const std::string& from, const std::string& to) {
    return refusal<model>(replaced(weights, from, to));
  };
  CHECK(contains(refused(R"("head.weight")", R"("heat.weight")"), "head.weight is missing"));
  CHECK(contains(refused(R"("BF16")", R"("F16" )"), "expected BF16 [256], got F16 [256]"));
  CHECK(contains(refused("[257,256]", "[256,257]"), "expected BF16 [257, 256], got BF16 [256, 25"));
  CHECK(contains(refused("half_split", "half-split"), "rope_layout"));
  CHECK(contains(refused("seqmix-byte-lm-1", "seqmix-byte-lm-3"), "not the weights of a byte_lm"));
  CHECK(contains(refused(R"("layers":"4")", R"("layers":"5")"), "layers.4."));
  CHECK(contains(refused(R"("layers":"4")", R"("layers":"3")"), "has 39 tensors"));
  CHECK(contains(refused(R"("kv_heads":"2")", R"("kv_heads":"3")"), "3 KV heads"));
  CHECK(contains(refused(R"("head_dim":"64")", R"("head_dim":"6x")"), R"(head_dim = "6x")"));
  CHECK(contains(refused(R"("norm_eps")", R"("norm_epz")"), "has no norm_eps"));
  CHECK(contains(refused(R"("1e-05")", R"("-1.05")"), R"(norm_eps = "-1.05")"));
}

namespace {

const std::string& some_text() {
  static const std::string text = content_of(BYTE_LM_DATA_DIR "/heldout.txt").substr(0, 300);
  return text;
}

const model& shipped_model() {
  static const model m(shipped);
  return m;
}

}  // namespace

TEST_CASE("a prompt at once, in chunks and token by token gives the same logits") {
  const model& m = shipped_model();
  const std::vector<int> tokens = tokens_of(m.config, some_text());
  session whole(m, static_cast<int>(tokens.size()));
  const matrix expected = whole.append(tokens);
  REQUIRE(expected.rows() == static_cast<Eigen::Index>(tokens.size()));
  REQUIRE(expected.allFinite());

  const std::vector<std::vector<std::size_t>> ways{{1, 5, 129, 166}, {300, 1}, {1}};
  for (const std::vector<std::size_t>& chunks : ways) {
    session parts(m, 400);  // a cache with room to spare
    double worst = 0;
    for (std::size_t at = 0, i = 0; at < tokens.size(); ++i) {
      const std::size_t count = chunks[i % chunks.size()];
      const auto logits = parts.append(std::span(tokens).subspan(at, count));
      const auto reference = expected.middleRows(static_cast<Eigen::Index>(at), logits.rows());
      worst = std::max(worst, static_cast<double>((logits - reference).cwiseAbs().maxCoeff()));
      at += count;
    }
    INFO("chunks of " << chunks.front() << ", ...: logits differ by " << worst);
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("a session can begin again, on any executor, with the same bits") {
  const model& m = shipped_model();
  const std::vector<int> tokens = tokens_of(m.config, some_text());
  const backwards_executor executor;
  session s(m, 301, executor);
  session plain(m, 301);
  const matrix first = s.append(tokens);
  s.clear();
  CHECK(s.length() == 0);
  CHECK(first == matrix(s.append(tokens)));
  CHECK(first == matrix(plain.append(tokens)));
  CHECK(s.length() == 301);
  CHECK_THROWS_AS(s.append(std::vector{1}), std::length_error);
  s.clear();
  CHECK_THROWS_AS(s.append(std::vector{257}), std::out_of_range);
  CHECK_THROWS_AS(s.append(std::vector{-1}), std::out_of_range);
  CHECK(s.length() == 0);
}

TEST_CASE("a session that forgets") {
  const model& m = shipped_model();
  const std::vector<int> tokens = tokens_of(m.config, some_text());
  session all(m, 301);
  const matrix expected = all.append(tokens);

  // Nothing is forgotten yet.
  session long_window(m, 1, {}, {.sinks = 4, .window = 297});
  CHECK(expected == matrix(long_window.append(tokens)));

  // However the tokens come, each is predicted from the same ones.
  for (const int sinks : {0, 4}) {
    session whole(m, 1, {}, {.sinks = sinks, .window = 60});
    const std::size_t bytes = whole.cache_bytes();
    const matrix forgetful = whole.append(tokens);
    const auto difference = (forgetful - expected).rowwise().lpNorm<Eigen::Infinity>();
    CHECK(difference.head(60 + sinks).maxCoeff() < 1e-4f);
    CHECK(difference.tail(200).maxCoeff() > 0.01f);
    session parts(m, 1, {}, {.sinks = sinks, .window = 60});
    for (std::size_t at = 0; at < tokens.size();) {
      const auto logits = parts.append(std::span(tokens).subspan(at, at == 0 ? 281 : 1));
      const auto same = forgetful.middleRows(static_cast<Eigen::Index>(at), logits.rows());
      CHECK((logits - same).cwiseAbs().maxCoeff() < 1e-4f);
      at += static_cast<std::size_t>(logits.rows());
    }
    CHECK(whole.length() == 301);
    CHECK(whole.cache_bytes() == bytes);
    whole.clear();
    CHECK(forgetful == matrix(whole.append(tokens)));
  }
  CHECK_THROWS_AS(session(m, 1, {}, {.half = true, .window = 60}), std::invalid_argument);
}

TEST_CASE("windows of the held-out text cost what PyTorch says") {
  const auto scores = nlohmann::json::parse(content_of(BYTE_LM_DATA_DIR "/scores.json"));
  const auto& reference = scores.at("reference_first_16384_bytes_window_bits");
  const std::string text = content_of(BYTE_LM_DATA_DIR "/heldout.txt");
  const model& m = shipped_model();
  session s(m, 1024);
  for (std::size_t window = 0; window < 2; ++window) {
    INFO("window " << window);
    const double bits = bits_of(m.config, s, text.substr(1024 * window, 1024));
    CHECK(std::abs(bits - reference.at(window).get<double>()) < 1e-5 * 1024);
  }
}

TEST_CASE("attention in f16 changes a score by less than a device may") {
  const auto scores = nlohmann::json::parse(content_of(BYTE_LM_DATA_DIR "/scores.json"));
  const double reference = scores.at("reference_first_16384_bytes_window_bits").at(0).get<double>();
  const std::string text = content_of(BYTE_LM_DATA_DIR "/heldout.txt").substr(0, 1024);
  const model& m = shipped_model();
  session half(m, 1024, {}, {.half = true});
  CHECK(std::abs(bits_of(m.config, half, text) - reference) < 1e-4 * 1024);

  const std::vector<int> tokens = tokens_of(m.config, some_text());
  session plain(m, 301);
  const matrix expected = plain.append(tokens);
  half.clear();
  for (std::size_t at = 0; at < tokens.size();) {  // a prompt, then token by token
    const auto logits = half.append(std::span(tokens).subspan(at, at == 0 ? 290 : 1));
    const auto reference_rows = expected.middleRows(static_cast<Eigen::Index>(at), logits.rows());
    INFO("token " << at);
    CHECK((logits - reference_rows).cwiseAbs().maxCoeff() < 0.02f);
    at += static_cast<std::size_t>(logits.rows());
  }
}

TEST_CASE("a text costs the sum of what its bytes cost") {
  const model& m = shipped_model();
  const std::string text = some_text().substr(0, 40);
  session s(m, 40);
  const double whole = bits_of(m.config, s, text);
  CHECK(bits_of(m.config, s, "") == 0);
  double sum = 0;
  for (std::size_t length = 1; length <= text.size(); ++length) {
    const double bits = bits_of(m.config, s, text.substr(0, length));
    CHECK(bits > sum);
    sum = bits;
  }
  CHECK(std::abs(whole - sum) < 1e-9);
}

TEST_CASE("the sampler draws what it is told to") {
  row_vector logits = row_vector::Zero(257);
  logits(256) = 100;  // BOS, never to be drawn

  std::mt19937_64 bits(5);
  sampler uniform(1, 5);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(uniform(logits) == static_cast<int>(bits() >> 56));
  }

  logits(7) = 3;
  logits(9) = 4;
  sampler greedy(0, 5);
  CHECK(greedy(logits) == 9);
  sampler cold(1e-3, 5);
  CHECK(cold(logits) == 9);
  logits.head(256).array() -= 1000;  // only differences count
  logits(7) = 3;
  logits(9) = 4;
  sampler warm(2, 5);
  int sevens = 0;
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    const int byte = warm(logits);
    REQUIRE((byte == 7 || byte == 9));
    sevens += byte == 7;
  }
  const double expected = draws / (1 + std::exp(0.5));
  CHECK(std::abs(sevens - expected) < 4 * std::sqrt(expected));
}
