#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a byte-level model and writes its weights, rounded to bf16.

Each epoch cuts the training text, from a random start, into windows of one context length and
shows each once. An exponential moving average of the weights is scored on the validation text
at intervals, and the best one is kept. Without --steps, the number of steps is chosen after a
short timing so that the run fits --max-seconds; the number is printed and stored in the weight
file's metadata, and giving it as --steps repeats the same schedule.
"""
import argparse
import json
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from tqdm import tqdm

import model as lm

TIMED_STEPS = 40  # of which the first half is warm-up


def parse_arguments():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--text", type=pathlib.Path, required=True, help="folder with train.txt and valid.txt")
  add("--out", type=pathlib.Path, required=True, help="folder for NAME.safetensors, NAME.train.json")
  add("--model", metavar="NAME", default="byte_lm", choices=lm.MODELS,
      help=f"one of {', '.join(lm.MODELS)} (default: %(default)s)")
  add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
  add("--seed", type=int, default=1611)
  add("--steps", type=int, help="optimizer steps (default: as many as --max-seconds allows)")
  add("--max-seconds", type=float, default=270.0,
      help="time for training; a run that takes 15 %% longer is stopped (default: %(default)s)")
  add("--batch", type=int, default=32, help="windows per step (default: %(default)s)")
  add("--learning-rate", type=float, default=2e-3, help="peak (default: %(default)s)")
  add("--weight-decay", type=float, default=0.1, help="on matrices (default: %(default)s)")
  add("--dropout", type=float, default=0.1, help="on residual branches (default: %(default)s)")
  add("--warmup", type=int, default=200, help="steps (default: %(default)s)")
  add("--ema", type=float, default=0.998, help="decay of the average (default: %(default)s)")
  add("--valid-every", type=int, default=250, help="steps (default: %(default)s)")
  return parser.parse_args()


def batches(data, context, batch, generator):
  """Endless (epoch, inputs, targets); data [bytes], inputs and targets [batch, context]."""
  offsets = torch.arange(context, device=data.device)
  bos = torch.full((batch, 1), lm.BOS, device=data.device)
  epoch = 0
  while True:
    epoch += 1
    shift = int(torch.randint(context, (1,), generator=generator))
    count = (len(data) - shift) // context
    order = torch.randperm(count, generator=generator)
    for begins in (order * context + shift).split(batch):
      if len(begins) == batch:
        target = data[begins.to(data.device)[:, None] + offsets].long()
        yield epoch, torch.cat((bos, target[:, :-1]), 1), target


@torch.no_grad()
def bits_per_byte(network, text, context, device):
  network.eval()
  bits = 0.0
  for inputs, target in lm.windows_of(text, context, device, batch=32):
    loss = F.cross_entropy(network(inputs).flatten(0, 1), target.flatten(), reduction="sum")
    bits += loss.item() / math.log(2)
  return bits / len(text)


def rate(step, steps, warmup, peak):
  """Linear warm-up, then a cosine to zero."""
  if step < warmup:
    return peak * (step + 1) / warmup
  return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def main():
  arguments = parse_arguments()
  lm.use_plain_fp32()
  torch.manual_seed(arguments.seed)
  device = torch.device(arguments.device)
  config = lm.MODELS[arguments.model]
  train_text = (arguments.text / "train.txt").read_bytes()
  valid_text = (arguments.text / "valid.txt").read_bytes()
  data = torch.frombuffer(bytearray(train_text), dtype=torch.uint8).to(device)
  arguments.out.mkdir(parents=True, exist_ok=True)

  network = lm.ByteLM(config, arguments.dropout)
  network.initialise()
  network.to(device)
  average = lm.ByteLM(config).to(device).eval()
  average.load_state_dict(network.state_dict())
  parameters, averages = list(network.parameters()), list(average.parameters())
  decayed = network.decayed()
  others = [p for p in parameters if all(p is not q for q in decayed)]
  optimizer = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": arguments.weight_decay},
     {"params": others, "weight_decay": 0.0}],
    betas=(0.9, 0.95), fused=device.type == "cuda")
  print(f"{sum(p.numel() for p in parameters)} parameters, {len(train_text)} training bytes")

  def synchronize():
    if device.type == "cuda":
      torch.cuda.synchronize()
    return time.monotonic()

  start = synchronize()
  steps, timed_from = arguments.steps, None
  best = {"bits_per_byte": math.inf, "step": 0}
  history = []
  generator = torch.Generator().manual_seed(arguments.seed)
  source = batches(data, config.context_length, arguments.batch, generator)
  bar = tqdm(total=steps, mininterval=5.0, unit="step", ascii=True)
  step, stopped = 0, False
  while not stopped:
    if steps is None and step == TIMED_STEPS // 2:
      timed_from = synchronize()
    if steps is None and step == TIMED_STEPS:
      now = synchronize()
      # Validation and jitter get 4 % of the time.
      per_step = (now - timed_from) / (TIMED_STEPS - TIMED_STEPS // 2) / 0.96
      steps = step + int((arguments.max_seconds - (now - start)) / per_step)
      bar.total = steps
      tqdm.write(f"{per_step * 1e3:.1f} ms per step: {steps} steps")

    for group in optimizer.param_groups:
      group["lr"] = rate(step, steps or 10**6, arguments.warmup, arguments.learning_rate)
    epoch, inputs, target = next(source)
    network.train()
    loss = F.cross_entropy(network(inputs).flatten(0, 1), target.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    step += 1
    with torch.no_grad():
      # The average starts short, so that it does not remember the initial weights.
      decay = min(arguments.ema, (1 + step) / (10 + step))
      torch._foreach_lerp_(averages, parameters, 1 - decay)
    bar.update()

    stopped = step == steps
    if step % arguments.valid_every == 0 or stopped:
      stopped = stopped or time.monotonic() - start > 1.15 * arguments.max_seconds
      valid = bits_per_byte(average, valid_text, config.context_length, device)
      entry = {"step": step, "epoch": epoch, "train_bits_per_byte": loss.item() / math.log(2),
               "valid_bits_per_byte": valid, "seconds": round(time.monotonic() - start, 1)}
      history.append(entry)
      bar.set_postfix(valid=f"{valid:.4f}")
      tqdm.write(json.dumps(entry))
      if valid < best["bits_per_byte"]:
        best = {"bits_per_byte": valid, "step": step}
        notes = {"seed": str(arguments.seed), "train_steps": str(steps or step),
                 "best_step": str(step)}
        lm.save_weights(arguments.out / f"{arguments.model}.safetensors", average.state_dict(), config, notes)
  bar.close()

  record = {
    "torch": torch.__version__,
    "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    "arguments": {key: str(value) for key, value in vars(arguments).items()
                  if key not in ("text", "out")},
    "steps": step, "planned_steps": steps, "epochs": epoch, "best": best,
    "seconds": round(synchronize() - start, 1), "history": history,
  }
  (arguments.out / f"{arguments.model}.train.json").write_text(json.dumps(record, indent=2) + "\n")
  print(f"best {best['bits_per_byte']:.4f} bits per byte on valid.txt at step {best['step']}")


if __name__ == "__main__":
  main()
