# SPDX-License-Identifier: Apache-2.0
import torch
from torch import nn


class RMSNorm(nn.Module):
  def __init__(self, size, eps):
    super().__init__()
    self.eps = eps
    self.weight = nn.Parameter(torch.ones(size))

  def forward(self, x):                                               # [..., size]
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight
