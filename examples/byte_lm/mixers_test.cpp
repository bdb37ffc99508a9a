// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model.hpp"
#include "predict.hpp"
#include "random_weights.hpp"
#include "test_support.hpp"

namespace {

std::filesystem::path path_of(const std::string& name) {
  return BYTE_LM_DATA_DIR "/" + name + ".safetensors";
}

const model& shipped_model(std::string name) {
  static std::map<std::string, model> models;
  return models.try_emplace(name, path_of(name)).first->second;
}

const std::array<std::string, 6> shipped_with_states{"gla",    "gated_delta_net", "kda",
                                                     "hybrid", "mamba",           "mamba2"};

model random_model_of(const std::vector<std::string>& mixers) {
  const temporary_file file(random_model(mixers));
  return model(file.path());
}

/// Models whose memory does not grow, the shipped ones and a random one of all kinds of layer.
const std::map<std::string, const model*>& with_states() {
  static const model random = random_model_of({"mamba2", "softmax", "mamba"});
  static const auto all = [] {
    std::map<std::string, const model*> models{{"random", &random}};
    for (const std::string& name : shipped_with_states) {
      models[name] = &shipped_model(name);
    }
    return models;
  }();
  return all;
}

/// Numbers that a layer keeps of a sequence.
int kept_numbers(const model_config& c, mixer_kind kind) {
  const int inputs = c.conv_channels(kind) * (c.conv_width - 1);
  switch (kind) {
    case mixer_kind::softmax:
      return 2 * 2 * c.window * c.kv_heads * c.head_dim;  // keys and values, twice the window
    case mixer_kind::mamba:
    case mixer_kind::mamba2:
      return inputs + c.inner_width * c.state_size;
    default:
      return c.query_heads * c.head_dim * c.head_dim;
  }
}

std::vector<int> some_tokens(const model& m, std::size_t bytes = 200) {
  static const std::string text = content_of(BYTE_LM_DATA_DIR "/heldout.txt").substr(0, 300);
  return tokens_of(m.config, text.substr(0, bytes));
}

}  // namespace

TEST_CASE("a model with states reads a prompt at once, in chunks and token by token alike") {
  for (const auto& [name, of_name] : with_states()) {
    const model& m = *of_name;
    const std::vector<int> tokens = some_tokens(m);
    session whole(m, 1);
    const matrix expected = whole.append(tokens);
    REQUIRE(expected.allFinite());
    const std::vector<std::vector<std::size_t>> ways{{1, 5, 129, 66}, {190, 1}, {1}};
    for (const std::vector<std::size_t>& chunks : ways) {
      session parts(m, 1);
      double worst = 0;
      for (std::size_t at = 0, i = 0; at < tokens.size(); ++i) {
        const std::size_t count = std::min(chunks[i % chunks.size()], tokens.size() - at);
        const auto logits = parts.append(std::span(tokens).subspan(at, count));
        const auto reference = expected.middleRows(static_cast<Eigen::Index>(at), logits.rows());
        worst = std::max(worst, static_cast<double>((logits - reference).cwiseAbs().maxCoeff()));
        at += count;
      }
      INFO(name << ", chunks of " << chunks.front() << ", ...: logits differ by " << worst);
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("a model with states can begin again, on any executor, with the same bits") {
  const backwards_executor executor;
  for (const auto& [name, of_name] : with_states()) {
    INFO(name);
    const model& m = *of_name;
    const std::vector<int> tokens = some_tokens(m);
    session s(m, 1, executor);
    session plain(m, 1);
    const matrix first = s.append(tokens);
    s.append(tokens);  // far past the capacity, which is for layers that remember all
    CHECK(first != matrix(s.append(tokens)));
    s.clear();
    CHECK(first == matrix(s.append(tokens)));
    CHECK(first == matrix(plain.append(tokens)));
    session copy = plain;
    CHECK(matrix(plain.append(tokens)) == matrix(copy.append(tokens)));
  }
}

TEST_CASE("states take the same memory however long the text") {
  for (const auto& [name, of_name] : with_states()) {
    INFO(name);
    const model& m = *of_name;
    const model_config& c = m.config;
    CHECK_FALSE(c.grows());
    CHECK_FALSE(c.all_softmax());
    int numbers = 0;
    for (const mixer_kind kind : c.mixers) {
      numbers += kept_numbers(c, kind);
    }
    session s(m, 1);
    const std::size_t bytes = s.cache_bytes();
    CHECK(bytes == sizeof(float) * static_cast<std::size_t>(numbers));
    s.append(some_tokens(m));
    s.append(some_tokens(m));
    CHECK(s.cache_bytes() == bytes);
    CHECK(session(m, 100'000).cache_bytes() == bytes);
  }
  const model& softmax = shipped_model("softmax_small");
  CHECK(softmax.config.grows());
  CHECK(session(softmax, 100).cache_bytes() == sizeof(float) * 100 * 4 * 2 * 128);
}

TEST_CASE("the hybrid's softmax layer sees its window and no more") {
  const model& m = shipped_model("hybrid");
  const std::vector<int> tokens = some_tokens(m, 300);
  session by_metadata(m, 1);
  session same(m, 1, {}, {.window = 256});
  session wider(m, 1, {}, {.window = 300});
  const matrix expected = by_metadata.append(tokens);
  CHECK(expected == matrix(same.append(tokens)));
  const matrix more = wider.append(tokens);
  const auto difference = (more - expected).rowwise().lpNorm<Eigen::Infinity>();
  CHECK(difference.head(256).maxCoeff() < 1e-4f);
  CHECK(difference.tail(45).minCoeff() > 1e-4f);
}

TEST_CASE("windows cost every mixer what PyTorch says") {
  const auto scores = nlohmann::json::parse(content_of(BYTE_LM_DATA_DIR "/scores.json"));
  const std::string text = content_of(BYTE_LM_DATA_DIR "/heldout.txt");
  for (const char* name :
       {"softmax_small", "gla", "gated_delta_net", "kda", "hybrid", "mamba", "mamba2"}) {
    const auto& of_model = scores.at("models").at(name);
    const auto& reference = of_model.at("reference_first_16384_bytes_window_bits");
    const model& m = shipped_model(name);
    session s(m, 1024);
    for (const std::size_t window : {std::size_t{0}, std::size_t{15}}) {
      INFO(name << ", window " << window);
      const double bits = bits_of(m.config, s, text.substr(1024 * window, 1024));
      CHECK(std::abs(bits - reference.at(window).get<double>()) < 1e-5 * 1024);
    }
  }
}

TEST_CASE("a text longer than a chunk costs the sum of what its bytes cost") {
  const model& m = shipped_model("gla");
  const std::string text = content_of(BYTE_LM_DATA_DIR "/heldout.txt").substr(0, 1100);
  session s(m, 1);
  const double whole = bits_of(m.config, s, text);
  s.clear();
  const std::vector<int> tokens = tokens_of(m.config, text);
  double nats = 0;
  for (const auto& [first, count] : {std::pair(0, 700), std::pair(700, 400)}) {
    const auto logits = s.append(std::span(tokens).subspan(static_cast<std::size_t>(first),
                                                           static_cast<std::size_t>(count)));
    for (int i = 0; i < count; ++i) {
      nats += nats_of(logits.row(i), text[static_cast<std::size_t>(first + i)]);
    }
  }
  CHECK(std::abs(whole - nats / std::log(2)) < 1e-5 * 1100);
}

TEST_CASE("mixers that the file does not have, or that cannot be, are refused") {
  const auto refused = [](const std::string& name, const std::string& from, const std::string& to) {
    return refusal<model>(replaced(content_of(path_of(name)), from, to));
  };
  const std::string gla = "gla,gla,gla,gla";
  CHECK(contains(refused("gla", gla, "gla,gla,gla,glb"), R"(mixers = "gla,gla,gla,glb")"));
  CHECK(contains(refused("gla", gla, "gla,gla,gla,   "), "mixers = "));
  CHECK(contains(refused("gla", gla, ",gla,gla,gla,gl"), "mixers = "));
  CHECK(contains(refused("gla", gla, "softmax,softmax"), R"(mixers = "softmax,softmax")"));
  CHECK(contains(refused("gla", gla, "kda,kda,kda,kda"), "layers.0.attention.dt_bias is missing"));
  CHECK(contains(refused("kda", "kda,kda,kda,kda", gla), "decay_up.bias is missing"));
  CHECK(contains(refused("gla", R"("mixers")", R"("mixerz")"), "has no mixers"));
  CHECK(contains(refused("gla", R"("window")", R"("windom")"), "has no window"));
  CHECK(contains(refused("gla", R"("gate_rank":"16")", R"("gate_rank":"17")"), "[17, 128]"));
  CHECK(contains(refused("gla", R"("gate_rank":"16")", R"("gate_rank":"-1")"), "gate_rank"));
  CHECK(contains(refused("hybrid", R"("window":"256")", R"("window":"25x")"), R"("25x")"));
  CHECK(contains(refused("gla", R"("kv_heads":"2")", R"("kv_heads":"1")"),
                 "recurrent layers with 2 query heads and 1 KV heads"));
  CHECK(contains(refused("gla", "seqmix-byte-lm-2", "seqmix-byte-lm-1"), "tensors; a model of 4"));
  CHECK(contains(refused("gla", "seqmix-byte-lm-2", "seqmix-byte-lm-3"),
                 R"("seqmix-byte-lm-1" or "seqmix-byte-lm-2", got "seqmix-byte-lm-3")"));
  for (const auto& [name, of_name] : with_states()) {
    INFO(name);
    CHECK_THROWS_AS(session(*of_name, 1, {}, {.half = true}), std::invalid_argument);
  }
}
