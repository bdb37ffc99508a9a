# SPDX-License-Identifier: Apache-2.0
"""The blocks of state-space models, in place of attention, as published:

    Mamba   x, z = W x;  x = silu(conv(x));  dt, B, C = W x;  dt = softplus(b + W dt)
            h_t = e^(dt A) h_(t-1) + dt x B^T,  A = -e^a;     o = W ((h C + D x) silu(z))
    Mamba2  z, x, B, C, dt = W x;  x, B, C = silu(conv(x, B, C));  dt = softplus(b + dt)
            the same recurrence with one dt and A for each head;  o = W norm((h C + D x) silu(z))

Mamba has a state of N numbers for each inner channel, with rates of their own. Mamba2 has heads of
head_dim channels, and all of them read the same B and C.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

import recurrence
import selective_scan
from norm import RMSNorm


@torch.no_grad()
def initialise_steps(bias):
  """As the papers do: time steps softplus(bias) from 0.001 to 0.1."""
  step = bias.uniform_(math.log(1e-3), math.log(1e-1)).exp()
  bias.copy_(step + torch.log(-torch.expm1(-step)))


class CausalConv(nn.Module):
  """Over the tokens, each channel by itself, with SiLU."""

  def __init__(self, channels, width):
    super().__init__()
    self.weight = nn.Parameter(torch.zeros(channels, width))
    self.bias = nn.Parameter(torch.zeros(channels))

  @torch.no_grad()
  def initialise(self):
    bound = self.weight.shape[1] ** -0.5
    self.weight.uniform_(-bound, bound)
    self.bias.uniform_(-bound, bound)

  def forward(self, x):                                               # [B, T, channels]
    width = self.weight.shape[1]
    padded = F.pad(x, (0, 0, width - 1, 0))
    taps = (padded[:, i:i + x.shape[1]] * self.weight[:, i] for i in range(width))
    return F.silu(sum(taps, self.bias))


class Mamba(nn.Module):
  def __init__(self, config):
    super().__init__()
    inner, self.states, self.rank = config.inner_width, config.state_size, config.dt_rank
    self.in_proj = nn.Linear(config.d_model, 2 * inner, bias=False)
    self.conv = CausalConv(inner, config.conv_width)
    self.x_proj = nn.Linear(inner, self.rank + 2 * self.states, bias=False)
    self.dt_proj = nn.Linear(self.rank, inner, bias=False)
    self.dt_bias = nn.Parameter(torch.zeros(inner))
    self.a_log = nn.Parameter(torch.zeros(inner, self.states))
    self.d = nn.Parameter(torch.ones(inner))
    self.o = nn.Linear(inner, config.d_model, bias=False)

  @torch.no_grad()
  def initialise_gates(self):
    self.conv.initialise()
    self.a_log.copy_(torch.arange(1.0, 1.0 + self.states).log().expand_as(self.a_log))
    bound = self.rank ** -0.5
    self.dt_proj.weight.uniform_(-bound, bound)
    initialise_steps(self.dt_bias)

  def forward(self, x, cos, sin, literal):                            # [B, T, d_model]
    x, z = self.in_proj(x).chunk(2, -1)
    x = self.conv(x)
    dt, B, C = self.x_proj(x).split((self.rank, self.states, self.states), -1)
    dt = F.softplus(self.dt_proj(dt) + self.dt_bias)
    scan = selective_scan.sequential if literal else selective_scan.chunked
    y = scan(dt, dt * x, -self.a_log.exp(), B, C) + self.d * x
    return self.o(y * F.silu(z))


class Mamba2(nn.Module):
  def __init__(self, config):
    super().__init__()
    self.inner, self.states = config.inner_width, config.state_size
    self.heads = self.inner // config.head_dim
    mixed = self.inner + 2 * self.states                              # x, B and C
    self.in_proj = nn.Linear(config.d_model, self.inner + mixed + self.heads, bias=False)
    self.conv = CausalConv(mixed, config.conv_width)
    self.dt_bias = nn.Parameter(torch.zeros(self.heads))
    self.a_log = nn.Parameter(torch.zeros(self.heads))
    self.d = nn.Parameter(torch.ones(self.heads))
    self.output_norm = RMSNorm(self.inner, config.norm_eps)
    self.o = nn.Linear(self.inner, config.d_model, bias=False)

  @torch.no_grad()
  def initialise_gates(self):
    self.conv.initialise()
    self.a_log.uniform_(1, 16).log_()
    initialise_steps(self.dt_bias)

  def forward(self, x, cos, sin, literal):                            # [B, T, d_model]
    z, mixed, dt = self.in_proj(x).split((self.inner, self.conv.bias.numel(), self.heads), -1)
    x, B, C = self.conv(mixed).split((self.inner, self.states, self.states), -1)
    x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)                    # [B, H, T, P]
    dt = F.softplus(dt + self.dt_bias).transpose(1, 2)[..., None]            # [B, H, T, 1]
    B, C = (y[:, None].expand(-1, self.heads, -1, -1) for y in (B, C))       # [B, H, T, N]
    tensors = C, B, dt * x, -self.a_log.exp()[:, None, None] * dt
    y = recurrence.sequential(*tensors) if literal else recurrence.chunked(*tensors, chunk=64)
    y = (y + self.d[:, None, None] * x).transpose(1, 2).flatten(2)
    return self.o(self.output_norm(y * F.silu(z)))


KINDS = {"mamba": Mamba, "mamba2": Mamba2}
