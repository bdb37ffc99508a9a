# SPDX-License-Identifier: Apache-2.0
"""The recurrence of Mamba, for one channel of one sequence with a state h of N numbers:

    h_t = e^(dt_t A) h_(t-1) + w_t B_t,   y_t = C_t . h_t,   where w = dt u

dt, w and y are [B, T, D], A is [D, N] (below 0), B and C are [B, T, N]. Two ways to the same
figures: `sequential` is the equation, and what models are scored with; `chunked` is what they are
trained with.
"""
import torch
import torch.nn.functional as F


def advance(h, dt, w, A, B):
  """h_(t-1) to h_t, in place."""
  h *= (dt[..., None] * A).exp_()
  h.addcmul_(w[..., None], B[..., None, :])


def sequential(dt, w, A, B, C):
  """Token by token."""
  h = torch.zeros(dt.shape[0], *A.shape, dtype=dt.dtype, device=dt.device)
  outputs = []
  for t in range(dt.shape[1]):
    h = (dt[:, t, :, None] * A).exp() * h + w[:, t, :, None] * B[:, t, None]
    outputs.append((h @ C[:, t, :, None]).squeeze(-1))
  return torch.stack(outputs, 1)


class Scan(torch.autograd.Function):
  """All chunks at once, token by token of each. Tensors are [S, K, B, .]: token, chunk, sequence.

  No state of a token is kept for the gradients: they begin with those before each chunk, and
  need memory for the states of all tokens of one layer at a time."""

  @staticmethod
  def forward(context, dt, w, A, B, C):
    ends = torch.zeros(*dt.shape[1:], A.shape[1], dtype=dt.dtype, device=dt.device)
    for s in range(len(dt)):
      advance(ends, dt[s], w[s], A, B[s])
    kept = (dt.sum(0)[..., None] * A).exp_()            # of a state, by the end of the chunk
    starts = torch.zeros_like(ends)
    for k in range(len(ends) - 1):
      torch.addcmul(ends[k], kept[k], starts[k], out=starts[k + 1])
    h, y = starts.clone(), torch.empty_like(w)
    for s in range(len(dt)):
      advance(h, dt[s], w[s], A, B[s])
      y[s] = (h @ C[s, ..., None]).squeeze(-1)
    context.save_for_backward(dt, w, A, B, C, starts)
    return y

  @staticmethod
  def backward(context, by_y):
    dt, w, A, B, C, starts = context.saved_tensors
    h = starts.new_empty(len(dt) + 1, *starts.shape)    # before each token, and after the last
    h[0] = starts
    for s in range(len(dt)):
      h[s + 1] = h[s]
      advance(h[s + 1], dt[s], w[s], A, B[s])
    # What the states before each chunk get from its own tokens, and then from later chunks too.
    own = torch.zeros_like(starts)
    for s in reversed(range(len(dt))):
      own.addcmul_(by_y[s, ..., None], C[s, ..., None, :])
      own *= (dt[s, ..., None] * A).exp_()
    kept = (dt.sum(0)[..., None] * A).exp_()
    by_h = torch.zeros_like(starts)                     # by the states after each chunk
    for k in reversed(range(1, len(starts))):
      torch.addcmul(own[k], kept[k], by_h[k], out=by_h[k - 1])
    by_dt, by_w, by_A, by_B, by_C = (torch.zeros_like(x) for x in (dt, w, A, B, C))
    for s in reversed(range(len(dt))):
      by_h.addcmul_(by_y[s, ..., None], C[s, ..., None, :])
      by_C[s] = (by_y[s, ..., None, :] @ h[s + 1]).squeeze(-2)
      by_w[s] = (by_h @ B[s, ..., None]).squeeze(-1)
      by_B[s] = (w[s, ..., None, :] @ by_h).squeeze(-2)
      by_h *= (dt[s, ..., None] * A).exp_()
      by_exponent = by_h * h[s]
      by_dt[s] = (by_exponent * A).sum(-1)
      by_A += (by_exponent * dt[s, ..., None]).sum((0, 1))
    return by_dt, by_w, by_A, by_B, by_C


def chunked(dt, w, A, B, C, chunk=32):
  """Chunks in parallel, and a scan over the states before each."""
  length = dt.shape[1]
  def cut(x):                                                                # [S, K, B, .]
    return F.pad(x, (0, 0, 0, -length % chunk)).unflatten(1, (-1, chunk)).permute(2, 1, 0, 3)
  cuts = [cut(x).contiguous() for x in (dt, w, B, C)]
  y = Scan.apply(cuts[0], cuts[1], A, *cuts[2:])
  return y.permute(2, 1, 0, 3).flatten(1, 2)[:, :length]
