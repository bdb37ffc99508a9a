#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `chunked` with `sequential`: outputs and all gradients, in double, on the CPU."""
import itertools

import torch
import torch.nn.functional as F

import recurrence


def largest_difference(length, per_key, delta, gate_scale, chunk):
  """Of outputs and gradients, each relative to its own largest element."""
  generator = torch.Generator().manual_seed(length)
  def draw(size):
    return torch.randn(2, 3, length, size, dtype=torch.float64, generator=generator)
  q, k = draw(8), F.normalize(draw(8), dim=-1)
  gate = gate_scale * F.logsigmoid(draw(8 if per_key else 1))
  tensors = [q, k, draw(5), gate] + ([2 * draw(1).sigmoid()] if delta else [])
  outward = draw(5)
  results = []
  for run in (recurrence.sequential, lambda *x: recurrence.chunked(*x, chunk=chunk)):
    inputs = [x.clone().requires_grad_() for x in tensors]
    o = run(*inputs)
    results.append([o, *torch.autograd.grad(o, inputs, outward)])
  return max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(*results, strict=True))


def main():
  worst = 0.0
  cases = itertools.product((1, 16, 50), (False, True), (False, True), (0.1, 1.0, 30.0), (4, 16))
  for case in cases:
    difference = largest_difference(*case)
    if not difference < 1e-9:
      raise SystemExit(f"length, per_key, delta, gate_scale, chunk = {case}: {difference:.1e} off")
    worst = max(worst, difference)
  print(f"chunked equals sequential within {worst:.1e}")


if __name__ == "__main__":
  main()
