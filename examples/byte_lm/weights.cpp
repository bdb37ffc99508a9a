// SPDX-License-Identifier: Apache-2.0
#include "weights.hpp"

#include <array>
#include <charconv>
#include <seqmix/core/scalar.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "safetensors.hpp"

namespace {

// ---- metadata ----

const std::string& text(const safetensors_file& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    file.fail("__metadata__ has no " + key);
  }
  return found->second;
}

[[noreturn]] void refuse(const safetensors_file& file, const std::string& key) {
  file.fail("__metadata__ has " + key + " = \"" + text(file, key) + "\"");
}

/// The number that the metadata holds under `key`, in [low, high].
template <class T>
T number(const safetensors_file& file, const std::string& key, T low, T high) {
  const std::string& digits = text(file, key);
  T value{};
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (problem != std::errc{} || end != digits.data() + digits.size() || !(value >= low) ||
      !(value <= high)) {
    refuse(file, key);
  }
  return value;
}

/// Which of `values` the metadata holds under `key`.
std::size_t one_of(const safetensors_file& file, const std::string& key,
                   const std::vector<std::string>& values) {
  const auto found = file.metadata().find(key);
  const bool given = found != file.metadata().end();
  std::string expected;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (given && found->second == values[i]) {
      return i;
    }
    expected += (i == 0 ? "\"" : "\" or \"") + values[i];
  }
  file.fail("not the weights of a byte_lm: expected __metadata__ " + key + " = " + expected +
            "\", got " + (given ? "\"" + found->second + "\"" : "none"));
}

/// Names of mixers with commas between them, one for each layer.
std::vector<mixer_kind> read_mixers(const safetensors_file& file, int layers) {
  constexpr std::array<std::pair<std::string_view, mixer_kind>, 6> kinds{
      {{"softmax", mixer_kind::softmax},
       {"gla", mixer_kind::gla},
       {"gated_delta_net", mixer_kind::gated_delta_net},
       {"kda", mixer_kind::kda},
       {"mamba", mixer_kind::mamba},
       {"mamba2", mixer_kind::mamba2}}};
  std::vector<mixer_kind> result;
  std::string_view rest = text(file, "mixers");
  for (bool more = true; more;) {
    const std::size_t comma = rest.find(',');
    const auto* kind = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) {
      return k.first == rest.substr(0, comma);
    });
    if (kind == kinds.end()) {
      refuse(file, "mixers");
    }
    result.push_back(kind->second);
    more = comma != std::string_view::npos;
    rest.remove_prefix(more ? comma + 1 : rest.size());
  }
  if (result.size() != static_cast<std::size_t>(layers)) {
    refuse(file, "mixers");
  }
  return result;
}

constexpr int most = 1 << 16;  // of anything in a layer

void read_state_space_sizes(const safetensors_file& file, model_config& c) {
  const bool by_channel = c.any([](mixer_kind m) { return m == mixer_kind::mamba; });
  const bool by_head = c.any([](mixer_kind m) { return m == mixer_kind::mamba2; });
  c.inner_width = number(file, "inner_width", 1, most);
  c.state_size = number(file, "state_size", 1, by_channel ? 256 : 512);
  c.conv_width = number(file, "conv_width", 2, 64);
  c.dt_rank = number(file, "dt_rank", by_channel ? 1 : 0, most);
  if (by_head && (c.inner_width % c.head_dim != 0 || c.head_dim > 512)) {
    file.fail("__metadata__ has mamba2 layers with heads of size " + std::to_string(c.head_dim) +
              " and an inner width of " + std::to_string(c.inner_width));
  }
}

model_config read_config(const safetensors_file& file) {
  const bool has_mixers = one_of(file, "format", {"seqmix-byte-lm-1", "seqmix-byte-lm-2"}) == 1;
  one_of(file, "rope_layout", {"half_split"});
  model_config c;
  c.vocabulary = number(file, "vocabulary", 257, 257);
  c.bos_token = number(file, "bos_token", 256, 256);
  c.context_length = number(file, "context_length", 1, 1 << 20);
  c.layers = number(file, "layers", 1, 1024);
  c.d_model = number(file, "d_model", 1, most);
  c.kv_heads = number(file, "kv_heads", 1, most);
  c.query_heads = number(file, "query_heads", 1, most);
  c.head_dim = number(file, "head_dim", 2, 1024);
  c.mlp_hidden = number(file, "mlp_hidden", 1, most);
  c.rope_base = number(file, "rope_base", 1.0, 1e12);
  c.norm_eps = number(file, "norm_eps", 0.0f, 1.0f);
  if (c.query_heads % c.kv_heads != 0 || c.head_dim % 2 != 0) {
    file.fail("__metadata__ has " + std::to_string(c.query_heads) + " query heads of size " +
              std::to_string(c.head_dim) + " and " + std::to_string(c.kv_heads) + " KV heads");
  }
  c.mixers.assign(static_cast<std::size_t>(c.layers), mixer_kind::softmax);
  if (has_mixers) {
    c.mixers = read_mixers(file, c.layers);
    c.window = number(file, "window", 0, 1 << 20);
    c.gate_rank = number(file, "gate_rank", 0, most);
    if (c.any(is_matrix_recurrence) && (c.query_heads != c.kv_heads || c.head_dim > 512)) {
      file.fail("__metadata__ has recurrent layers with " + std::to_string(c.query_heads) +
                " query heads and " + std::to_string(c.kv_heads) + " KV heads of size " +
                std::to_string(c.head_dim));
    }
    if (c.any(is_state_space)) {
      read_state_space_sizes(file, c);
    }
  }
  return c;
}

// ---- tensors ----

/// Reads tensors, and counts them.
class tensor_reader {
 public:
  explicit tensor_reader(const safetensors_file& file) : file_(file) {}

  matrix operator()(const std::string& name, int rows, int columns) {
    matrix result(rows, columns);
    to_float(file_.tensor(name, "BF16",
                          {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns)}),
             result.data());
    return result;
  }

  row_vector operator()(const std::string& name, int size) {
    row_vector result(size);
    to_float(file_.tensor(name, "BF16", {static_cast<std::uint64_t>(size)}), result.data());
    return result;
  }

  std::size_t count() const { return count_; }

 private:
  void to_float(std::span<const std::byte> bytes, float* to) {
    ++count_;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
      seqmix::bf16 value;
      value.bits = static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[i]) |
                                              std::to_integer<unsigned>(bytes[i + 1]) << 8);
      *to++ = static_cast<float>(value);
    }
  }

  const safetensors_file& file_;
  std::size_t count_ = 0;
};

gate_weights read_gates(tensor_reader& read, const std::string& prefix, const model_config& c,
                        mixer_kind kind) {
  const int heads = c.query_heads;
  const int size = heads * c.head_dim;
  gate_weights w;
  w.output = read(prefix + "output_gate.weight", size, c.d_model);
  w.output_norm = read(prefix + "output_norm.weight", c.head_dim);
  if (kind == mixer_kind::gated_delta_net) {
    w.decay = read(prefix + "decay.weight", heads, c.d_model);
    w.decay_bias = read(prefix + "dt_bias", heads);
  } else {
    w.decay_down = read(prefix + "decay_down.weight", c.gate_rank, c.d_model);
    w.decay = read(prefix + "decay_up.weight", size, c.gate_rank);
    w.decay_bias = read(prefix + (kind == mixer_kind::gla ? "decay_up.bias" : "dt_bias"), size);
  }
  if (kind != mixer_kind::gla) {
    w.negative_rate = -read(prefix + "a_log", heads).array().exp();
    w.beta = read(prefix + "beta.weight", heads, c.d_model);
  }
  return w;
}

state_space_weights read_state_space(tensor_reader& read, const std::string& prefix,
                                     const model_config& c, mixer_kind kind) {
  const int inner = c.inner_width;
  const int channels = c.conv_channels(kind);
  const int heads = c.inner_heads();
  state_space_weights w;
  w.conv = read(prefix + "conv.weight", channels, c.conv_width);
  w.conv_bias = read(prefix + "conv.bias", channels);
  if (kind == mixer_kind::mamba) {
    w.in = read(prefix + "in_proj.weight", 2 * inner, c.d_model);
    w.select = read(prefix + "x_proj.weight", c.dt_rank + 2 * c.state_size, inner);
    w.steps = read(prefix + "dt_proj.weight", inner, c.dt_rank);
    w.step_bias = read(prefix + "dt_bias", inner);
    w.negative_rate = -read(prefix + "a_log", inner, c.state_size).array().exp();
    w.skip = read(prefix + "d", inner);
  } else {
    w.in = read(prefix + "in_proj.weight", inner + channels + heads, c.d_model);
    w.step_bias = read(prefix + "dt_bias", heads);
    w.negative_rate = -read(prefix + "a_log", heads).array().exp();
    w.skip = read(prefix + "d", heads);
    w.output_norm = read(prefix + "output_norm.weight", inner);
  }
  return w;
}

}  // namespace

model::model(const std::filesystem::path& weights) {
  const safetensors_file file(weights);
  tensor_reader read(file);
  const model_config c = config = read_config(file);
  embedding = read("tok_embedding.weight", c.vocabulary, c.d_model);
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    const int q_size = c.query_heads * c.head_dim;
    const int kv_size = c.kv_heads * c.head_dim;
    const mixer_kind kind = c.mixers[static_cast<std::size_t>(layer)];
    layer_weights& w = layers.emplace_back();
    w.attention_norm = read(prefix + "attention_norm.weight", c.d_model);
    if (is_state_space(kind)) {
      w.space = read_state_space(read, prefix + "attention.", c, kind);
    } else {
      w.q = read(prefix + "attention.q.weight", q_size, c.d_model);
      w.k = read(prefix + "attention.k.weight", kv_size, c.d_model);
      w.v = read(prefix + "attention.v.weight", kv_size, c.d_model);
    }
    if (is_matrix_recurrence(kind)) {
      w.gates = read_gates(read, prefix + "attention.", c, kind);
    }
    w.o = read(prefix + "attention.o.weight", c.d_model,
               is_state_space(kind) ? c.inner_width : q_size);
    w.mlp_norm = read(prefix + "mlp_norm.weight", c.d_model);
    w.gate = read(prefix + "mlp.gate.weight", c.mlp_hidden, c.d_model);
    w.up = read(prefix + "mlp.up.weight", c.mlp_hidden, c.d_model);
    w.down = read(prefix + "mlp.down.weight", c.d_model, c.mlp_hidden);
  }
  final_norm = read("final_norm.weight", c.d_model);
  head = read("head.weight", c.vocabulary, c.d_model);

  if (file.tensor_count() != read.count()) {
    file.fail("has " + std::to_string(file.tensor_count()) + " tensors; a model of " +
              std::to_string(c.layers) + " layers has " + std::to_string(read.count()));
  }
}
