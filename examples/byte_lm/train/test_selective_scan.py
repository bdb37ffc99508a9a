#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what the state-space models train with and what they are scored with: outputs and all
gradients, in double, on the CPU; first Mamba's recurrence, then whole blocks."""
import itertools

import torch
import torch.nn.functional as F

import model as lm
import selective_scan


def largest_difference(results):
  """Of two lists of tensors, each relative to its own largest element."""
  return max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(*results, strict=True))


def of_scans(length, step_scale, chunk):
  generator = torch.Generator().manual_seed(length)
  def draw(*size):
    return torch.randn(*size, dtype=torch.float64, generator=generator)
  dt = step_scale * F.softplus(draw(2, length, 6))
  tensors = [dt, draw(2, length, 6), -draw(6, 5).exp(), draw(2, length, 5), draw(2, length, 5)]
  outward = draw(2, length, 6)
  results = []
  for run in (selective_scan.sequential, lambda *x: selective_scan.chunked(*x, chunk=chunk)):
    inputs = [x.clone().requires_grad_() for x in tensors]
    y = run(*inputs)
    results.append([y, *torch.autograd.grad(y, inputs, outward)])
  return largest_difference(results)


def of_models(name, length):
  torch.manual_seed(length)
  network = lm.ByteLM(lm.MODELS[name])
  network.initialise()
  network.double()
  tokens = torch.randint(256, (2, length))
  results = []
  for literal in (True, False):
    network.zero_grad()
    logits = network(tokens, literal)
    logits.logsumexp(-1).sum().backward()
    results.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
  return largest_difference(results)


def main():
  worst = 0.0
  cases = [(of_scans, *x) for x in itertools.product((2, 16, 50), (0.01, 1.0, 30.0), (4, 16))]
  cases += [(of_models, *x) for x in itertools.product(("mamba", "mamba2"), (40, 150))]
  for measure, *case in cases:
    difference = measure(*case)
    if not difference < 1e-9:
      raise SystemExit(f"{measure.__name__}{tuple(case)}: {difference:.1e} off")
    worst = max(worst, difference)
  print(f"chunks equal token by token within {worst:.1e}")


if __name__ == "__main__":
  main()
