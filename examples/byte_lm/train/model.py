# SPDX-License-Identifier: Apache-2.0
"""The byte-level models of this example, their configurations, and their weight files."""
import dataclasses
import math

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import mixers
import state_space
from norm import RMSNorm

FORMAT = "seqmix-byte-lm-1"         # softmax attention in every layer, to all tokens so far
MIXER_FORMAT = "seqmix-byte-lm-2"   # has a mixer for each layer
STATE_SPACE_SIZES = ("inner_width", "state_size", "conv_width", "dt_rank")
BOS = 256  # tokens 0..255 are the bytes themselves


@dataclasses.dataclass(frozen=True)
class Config:
  vocabulary: int = 257
  context_length: int = 1024
  layers: int = 4
  d_model: int = 256
  query_heads: int = 4
  kv_heads: int = 2
  head_dim: int = 64
  mlp_hidden: int = 640
  rope_base: float = 10000.0
  norm_eps: float = 1e-5
  mixers: str = ""      # of each layer: a key of MIXERS; all softmax when empty
  window: int = 0       # tokens that softmax layers see, the newest among them; 0: all
  gate_rank: int = 0    # of the gates that have a value for each key channel
  inner_width: int = 0  # channels of state-space layers; mamba2 has heads of head_dim of them
  state_size: int = 0   # numbers for each of these channels
  conv_width: int = 0   # taps of their causal convolution
  dt_rank: int = 0      # of mamba's time steps

  @property
  def mixer_names(self):
    return self.mixers.split(",") if self.mixers else ["softmax"] * self.layers

  @property
  def all_softmax(self):
    return set(self.mixer_names) == {"softmax"}

  def metadata(self):
    """The strings that the weight file carries, enough to rebuild the model from it alone."""
    mixing = {"mixers": self.mixers, "window": str(self.window), "gate_rank": str(self.gate_rank)}
    if self.inner_width:
      mixing |= {name: str(getattr(self, name)) for name in STATE_SPACE_SIZES}
    return {
      "format": MIXER_FORMAT if self.mixers else FORMAT,
      "bos_token": str(BOS),
      "vocabulary": str(self.vocabulary),
      "context_length": str(self.context_length),
      "layers": str(self.layers),
      "d_model": str(self.d_model),
      "query_heads": str(self.query_heads),
      "kv_heads": str(self.kv_heads),
      "head_dim": str(self.head_dim),
      "mlp_hidden": str(self.mlp_hidden),
      "rope_base": f"{self.rope_base:g}",
      "rope_layout": "half_split",
      "norm_eps": f"{self.norm_eps:g}",
      **(mixing if self.mixers else {}),
      "license": "Apache-2.0",
    }

  @staticmethod
  def from_metadata(metadata):
    formats = (FORMAT, MIXER_FORMAT)
    if metadata.get("format") not in formats or metadata.get("rope_layout") != "half_split":
      raise ValueError("not a weight file of this example")
    types = {field.name: type(field.default) for field in dataclasses.fields(Config)}
    optional = ("mixers", "window", "gate_rank", *STATE_SPACE_SIZES)
    return Config(**{name: kind(metadata[name]) for name, kind in types.items()
                     if name in metadata or name not in optional})


def small(mlp_hidden, **mixing):
  """A model of about 0.7 million parameters; the MLP makes up for what the mixers differ in."""
  return Config(d_model=128, query_heads=2, kv_heads=2, mlp_hidden=mlp_hidden, **mixing)


MODELS = {
  "byte_lm": Config(),
  "softmax_small": small(256),
  "gla": small(208, mixers="gla,gla,gla,gla", gate_rank=16),
  "gated_delta_net": small(216, mixers=",".join(["gated_delta_net"] * 4)),
  "kda": small(208, mixers="kda,kda,kda,kda", gate_rank=16),
  "hybrid": small(224, mixers="gated_delta_net,gated_delta_net,gated_delta_net,softmax",
                  window=256),
  "mamba": small(128, mixers="mamba,mamba,mamba,mamba", inner_width=256, state_size=16,
                 conv_width=4, dt_rank=8),
  "mamba2": small(128, mixers="mamba2,mamba2,mamba2,mamba2", inner_width=256, state_size=64,
                  conv_width=4),
}


def use_plain_fp32():
  """fp32 products in fp32: no TF32 anywhere."""
  torch.backends.cuda.matmul.allow_tf32 = False
  torch.backends.cudnn.allow_tf32 = False


class Attention(nn.Module):
  def __init__(self, config):
    super().__init__()
    self.config = config
    size, dim = config.d_model, config.head_dim
    self.q = nn.Linear(size, config.query_heads * dim, bias=False)
    self.k = nn.Linear(size, config.kv_heads * dim, bias=False)
    self.v = nn.Linear(size, config.kv_heads * dim, bias=False)
    self.o = nn.Linear(config.query_heads * dim, size, bias=False)

  def forward(self, x, cos, sin, literal):                            # [B, T, d_model]
    c = self.config
    batch, length, _ = x.shape
    q = self.q(x).view(batch, length, c.query_heads, c.head_dim).transpose(1, 2)
    k = self.k(x).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
    v = self.v(x).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    groups = c.query_heads // c.kv_heads                # query head h reads KV head h // groups
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)      # [B, H, T, D]
    hidden = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
    if c.window:
      hidden |= torch.ones_like(hidden).tril(-c.window)
    if literal:
      scores = q @ k.transpose(2, 3) * c.head_dim ** -0.5                      # [B, H, T, T]
      o = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
    elif c.window:
      o = F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden)
    else:
      o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return self.o(o.transpose(1, 2).reshape(batch, length, -1))


class SwiGLU(nn.Module):
  def __init__(self, config):
    super().__init__()
    self.gate = nn.Linear(config.d_model, config.mlp_hidden, bias=False)
    self.up = nn.Linear(config.d_model, config.mlp_hidden, bias=False)
    self.down = nn.Linear(config.mlp_hidden, config.d_model, bias=False)

  def forward(self, x):
    return self.down(F.silu(self.gate(x)) * self.up(x))


MIXERS = {"softmax": Attention, **mixers.KINDS, **state_space.KINDS}


class Layer(nn.Module):
  def __init__(self, config, mixer, dropout):
    super().__init__()
    self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
    self.attention = MIXERS[mixer](config)
    self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
    self.mlp = SwiGLU(config)
    self.drop = nn.Dropout(dropout)

  def forward(self, x, cos, sin, literal):
    x = x + self.drop(self.attention(self.attention_norm(x), cos, sin, literal))
    return x + self.drop(self.mlp(self.mlp_norm(x)))


class ByteLM(nn.Module):
  """Tokens [B, T] at positions 0..T-1 to logits [B, T, vocabulary]."""

  def __init__(self, config, dropout=0.0):
    super().__init__()
    self.config = config
    self.tok_embedding = nn.Embedding(config.vocabulary, config.d_model)
    self.layers = nn.ModuleList(Layer(config, mixer, dropout) for mixer in config.mixer_names)
    self.final_norm = RMSNorm(config.d_model, config.norm_eps)
    self.head = nn.Linear(config.d_model, config.vocabulary, bias=False)
    self.drop = nn.Dropout(dropout)

  def initialise(self):
    for name, parameter in self.named_parameters():
      if parameter.ndim == 2:
        std = parameter.shape[1] ** -0.5
        if name.endswith(("attention.o.weight", "mlp.down.weight")):
          std *= (2 * self.config.layers) ** -0.5
        elif name == "tok_embedding.weight":
          std = 0.1
        elif name == "head.weight":
          std = 0.02
        nn.init.normal_(parameter, std=std)
    for layer in self.layers:
      if not isinstance(layer.attention, Attention):
        layer.attention.initialise_gates()

  def decayed(self):
    """What weight decay is for: all matrices but rates, which it would pull to 1."""
    return [p for name, p in self.named_parameters()
            if p.ndim == 2 and not name.endswith("a_log")]

  def forward(self, tokens, literal=False):                           # [B, T]
    x = self.drop(self.tok_embedding(tokens))
    cos, sin = rope_table(self.config, tokens.shape[1], x)
    for layer in self.layers:
      x = layer(x, cos, sin, literal)
    return self.head(self.final_norm(x))


def rope_table(config, length, like):
  """cos and sin of position * base^(-2 i / D), [T, D / 2]; the angles are computed in double."""
  index = torch.arange(config.head_dim // 2, dtype=torch.float64, device=like.device)
  position = torch.arange(length, dtype=torch.float64, device=like.device)
  angle = position[:, None] * config.rope_base ** (-2 * index / config.head_dim)
  return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def rotate(x, cos, sin):                                              # [B, H, T, D]
  """Half-split RoPE: dimension i turns with dimension i + D / 2."""
  a, b = x.chunk(2, -1)
  return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def save_weights(path, state, config, notes):
  tensors = {name: tensor.to(torch.bfloat16).cpu().contiguous() for name, tensor in state.items()}
  save_file(tensors, path, {**config.metadata(), **notes})


def load_model(path, dtype=torch.float32):
  """The model with the file's bf16 weights converted, exactly, to dtype."""
  with safe_open(path, "pt") as file:
    config = Config.from_metadata(file.metadata())
    state = {name: file.get_tensor(name).to(dtype) for name in file.keys()}
  model = ByteLM(config).to(dtype)
  model.load_state_dict(state)
  return model.eval()


def windows_of(text, context, device, batch=1):
  """Cuts bytes into windows; yields (inputs, targets), each [B, T]: the BOS-shifted windows. The
  last, which may be shorter, comes alone."""
  data = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(device).long()
  whole = data[:len(text) // context * context].view(-1, context)
  rest = data[whole.numel():][None]
  for target in (*whole.split(batch), *([rest] if rest.numel() else [])):
    bos = torch.full((len(target), 1), BOS, device=device)
    yield torch.cat((bos, target[:, :-1]), 1), target
