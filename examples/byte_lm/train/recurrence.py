# SPDX-License-Identifier: Apache-2.0
"""The recurrences of the mixers with a matrix state, for one head of one sequence:

    S_t = diag(e^(g_t)) S_(t-1) + k_t u_t^T,   o_t = S_t^T q_t
    u_t = v_t                                                    without beta
    u_t = beta_t (v_t - (diag(e^(g_t)) S_(t-1))^T k_t)           with beta, the delta rule

q, k, v and o are [B, H, T, D], g [B, H, T, D] or [B, H, T, 1] (at most 0), beta [B, H, T, 1] or
None. Two ways to the same figures: `sequential` is the equation, and what models are scored with;
`chunked` is what they are trained with.
"""
import math

import torch
import torch.nn.functional as F


def sequential(q, k, v, g, beta=None):
  """Token by token."""
  state = torch.zeros(*q.shape[:2], q.shape[3], v.shape[3], dtype=q.dtype, device=q.device)
  outputs = []
  for t in range(q.shape[2]):
    state = g[:, :, t].exp()[..., None] * state                              # [B, H, K, V]
    u = v[:, :, t]
    if beta is not None:
      u = beta[:, :, t] * (u - (k[:, :, t, None, :] @ state).squeeze(2))
    state = state + k[:, :, t, :, None] * u[:, :, None, :]
    outputs.append((q[:, :, t, None, :] @ state).squeeze(2))
  return torch.stack(outputs, 2)


class Scan(torch.autograd.Function):
  """S_0 = 0, S_(n+1) = M_n S_n + N_n: M [n, B, K, K] and N [n, B, K, V] to all S [n, B, K, V]."""

  @staticmethod
  def forward(context, factors, terms):
    states = torch.zeros_like(terms)
    for n in range(len(terms) - 1):
      torch.baddbmm(terms[n], factors[n], states[n], out=states[n + 1])
    context.save_for_backward(factors, states)
    return states

  @staticmethod
  def backward(context, gradient):
    factors, states = context.saved_tensors
    total = gradient.clone()                    # by S_n, with what comes through later states
    for n in range(len(total) - 2, -1, -1):
      torch.baddbmm(gradient[n], factors[n].mT, total[n + 1], out=total[n])
    by_terms = torch.cat((total[1:], torch.zeros_like(total[:1])))
    return by_terms @ states.mT, by_terms


def decayed_products(rows, k, reach):
  """sum_d x_id k_jd e^(G_id - G_jd) for j <= i, else 0, for each x in rows.

  The exponents are differences that are at most 0, so that no gate overflows; no factor
  e^(-G_j) stands alone."""
  size = k.shape[-2]
  future = torch.ones(size, size, dtype=torch.bool, device=k.device).triu(1)
  if reach.shape[-1] == 1:
    kept = (reach - reach.mT).masked_fill(future, -math.inf).exp()           # [..., C, C]
    return [(x @ k.mT) * kept for x in rows]
  difference = reach.unsqueeze(-2) - reach.unsqueeze(-3)                     # [..., C, C, D]
  decayed = difference.masked_fill(future[..., None], -math.inf).exp() * k.unsqueeze(-3)
  return [(decayed * x.unsqueeze(-2)).sum(-1) for x in rows]


def unit_lower_inverse(lower):
  """(I + L)^-1 = (I - L)(I + L^2)(I + L^4)..., exact, since L^C = 0 for a strict lower L."""
  size = lower.shape[-1]
  eye = torch.eye(size, dtype=lower.dtype, device=lower.device)
  inverse, power, exponent = eye - lower, lower, 2
  while exponent < size:
    power = power @ power
    inverse = inverse + inverse @ power
    exponent *= 2
  return inverse


def chunked(q, k, v, g, beta=None, chunk=16):
  """Chunks in parallel: U = U0 - W S by the WY form, with the state S before each chunk from a
  scan over S' = M S + N."""
  batch, heads, length, _ = q.shape
  def cut(x):                                                                # [B, H, N, C, D]
    return F.pad(x, (0, 0, 0, -length % chunk)).unflatten(2, (-1, chunk))
  q, k, v, g = cut(q), cut(k), cut(v), cut(g)
  reach = g.cumsum(-2)                                  # log decay from before the chunk
  last = reach[..., -1:, :]
  k_end = k * (last - reach).exp()
  factor = torch.diag_embed(last.squeeze(-2).exp().expand(*k.shape[:3], k.shape[-1]))
  if beta is None:
    weights, = decayed_products((q,), k, reach)
    u, seen = v, q * reach.exp()
  else:
    beta = cut(beta)
    weights, overlaps = decayed_products((q, k), k, reach)
    inverse = unit_lower_inverse(beta * overlaps.tril(-1))
    u, w = inverse @ (beta * v), inverse @ (beta * k * reach.exp())
    factor = factor - k_end.mT @ w
    seen = q * reach.exp() - weights @ w
  def by_chunk(x):                                                           # [N, B H, K, V]
    return x.flatten(0, 1).transpose(0, 1)
  states = Scan.apply(by_chunk(factor), by_chunk(k_end.mT @ u))
  states = states.transpose(0, 1).unflatten(0, (batch, heads))
  return (seen @ states + weights @ u).flatten(2, 3)[:, :, :length]
