# SPDX-License-Identifier: Apache-2.0
"""The mixers with a matrix state, in place of attention. They differ in their gates:

    GLA            g = logsigmoid(b + W2 W1 x) / 16                    for each key channel
    GatedDeltaNet  g = -e^a softplus(b + W x), beta = sigmoid(W x)     for each head
    KDA            g = -e^a softplus(b + W2 W1 x) for each key channel, a and beta for each head

and have in common that queries are scaled by D^-0.5, that outputs are normalised and gated before
the last projection, and that the delta rules divide queries and keys by their norms. The papers'
short convolutions, and the SiLU behind them, are left out.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

import recurrence
from norm import RMSNorm

L2_EPS = 1e-6


class Recurrent(nn.Module):
  unit_keys = True

  def __init__(self, config):
    super().__init__()
    self.heads, self.dim = config.query_heads, config.head_dim
    size, inner = config.d_model, self.heads * self.dim
    self.q = nn.Linear(size, inner, bias=False)
    self.k = nn.Linear(size, inner, bias=False)
    self.v = nn.Linear(size, inner, bias=False)
    self.o = nn.Linear(inner, size, bias=False)
    self.output_gate = nn.Linear(size, inner, bias=False)
    self.output_norm = RMSNorm(self.dim, config.norm_eps)             # the same for all heads

  def by_heads(self, x):                                              # [B, H, T, .]
    return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

  def forward(self, x, cos, sin, literal):                            # [B, T, d_model]
    q, k, v = (self.by_heads(project(x)) for project in (self.q, self.k, self.v))
    if self.unit_keys:
      q, k = (y * torch.rsqrt(y.square().sum(-1, keepdim=True) + L2_EPS) for y in (q, k))
    mix = recurrence.sequential if literal else recurrence.chunked
    o = mix(q * self.dim ** -0.5, k, v, *self.gates(x)).transpose(1, 2)        # [B, T, H, D]
    return self.o(self.output_norm(o).flatten(2) * F.silu(self.output_gate(x)))


class GLA(Recurrent):
  unit_keys = False

  def __init__(self, config):
    super().__init__(config)
    self.decay_down = nn.Linear(config.d_model, config.gate_rank, bias=False)
    self.decay_up = nn.Linear(config.gate_rank, self.heads * self.dim)

  @torch.no_grad()
  def initialise_gates(self):
    # Memories of 23 to 6500 tokens.
    self.decay_up.bias.copy_(torch.linspace(0, 6, self.dim).repeat(self.heads))

  def gates(self, x):
    return self.by_heads(F.logsigmoid(self.decay_up(self.decay_down(x))) / 16), None


class DeltaRule(Recurrent):
  def __init__(self, config, rates):
    super().__init__(config)
    self.beta = nn.Linear(config.d_model, self.heads, bias=False)
    self.a_log = nn.Parameter(torch.zeros(self.heads))
    self.dt_bias = nn.Parameter(torch.zeros(rates))

  @torch.no_grad()
  def initialise_gates(self):
    # As the papers do: rates e^a from 1 to 16, time steps softplus(b) from 0.001 to 0.1.
    self.a_log.uniform_(1, 16).log_()
    step = self.dt_bias.uniform_(math.log(1e-3), math.log(1e-1)).exp()
    self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))

  def gates(self, x):
    rate = self.by_heads(F.softplus(self.decay(x) + self.dt_bias))
    beta = self.by_heads(self.beta(x).sigmoid())
    return -self.a_log.exp()[:, None, None] * rate, beta


class GatedDeltaNet(DeltaRule):
  def __init__(self, config):
    super().__init__(config, config.query_heads)
    self.decay = nn.Linear(config.d_model, self.heads, bias=False)


class KDA(DeltaRule):
  def __init__(self, config):
    super().__init__(config, config.query_heads * config.head_dim)
    self.decay_down = nn.Linear(config.d_model, config.gate_rank, bias=False)
    self.decay_up = nn.Linear(config.gate_rank, self.heads * self.dim, bias=False)

  def decay(self, x):
    return self.decay_up(self.decay_down(x))


KINDS = {"gla": GLA, "gated_delta_net": GatedDeltaNet, "kda": KDA}
