#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scores a text with the stored bf16 weights, and records the figures in a JSON file.

The text is cut into consecutive windows of one context length (the last may be shorter). Each
window is fed as [BOS, all its bytes but the last] at positions 0.., and all its bytes are
predicted. Bits per byte is the sum of -log2 p over all bytes, in double, over their number.
The weights are converted exactly to --dtype and all arithmetic is in it, without TF32. Attention
is its definition, and a recurrence runs token by token.

Each run fills one section of the file, named DEVICE_DTYPE; cpu_float32 is the reference and is
also written to the keys that start with reference_. The models beside byte_lm have theirs under
"models".
"""
import argparse
import hashlib
import json
import math
import pathlib

import torch

import model as lm

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = "1 And it came to pass in those days, that "
SUBSET = 16384


@torch.no_grad()
def window_bits(network, text, device):
  """Bits of each window, as doubles."""
  result = []
  # Recurrences are slow token by token: all windows at once.
  batch = 1 if network.config.all_softmax else len(text)
  for inputs, target in lm.windows_of(text, network.config.context_length, device, batch):
    log_p = network(inputs, literal=True).double().log_softmax(-1)
    bits = -log_p.gather(2, target[..., None]).sum((1, 2)) / math.log(2)
    result += bits.tolist()
  return result


@torch.no_grad()
def continue_greedily(network, prompt, count, device):
  """The continuation, and the smallest gap between the best two logits on the way."""
  tokens, gap = [lm.BOS, *prompt], math.inf
  for _ in range(count):
    logits = network(torch.tensor([tokens], device=device), literal=True)[0, -1]
    top = logits.topk(2)
    gap = min(gap, (top.values[0] - top.values[1]).item())
    tokens.append(int(top.indices[0]))
  return bytes(tokens[1 + len(prompt):]), gap


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--model", metavar="NAME", default="byte_lm", choices=lm.MODELS,
      help=f"one of {', '.join(lm.MODELS)} (default: %(default)s)")
  add("--weights", type=pathlib.Path, help="the model's weights, if they are not those in data")
  add("--text", type=pathlib.Path, default=HERE.parent / "data" / "heldout.txt")
  add("--scores", type=pathlib.Path, default=HERE.parent / "data" / "scores.json",
      help="file to create or to add a section to")
  add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
  add("--dtype", default="float32", choices=("float32", "float64"))
  add("--prompt", default=PROMPT, help="for the greedy continuation (default: %(default)r)")
  add("--generate", type=int, default=200, help="bytes to generate (default: %(default)s)")
  arguments = parser.parse_args()

  lm.use_plain_fp32()
  device = torch.device(arguments.device)
  weights = arguments.weights or HERE.parent / "data" / f"{arguments.model}.safetensors"
  network = lm.load_model(weights, getattr(torch, arguments.dtype)).to(device)
  context = network.config.context_length
  text = arguments.text.read_bytes()
  bits = window_bits(network, text, device)
  subset_windows = SUBSET // context
  subset_bytes = min(SUBSET, len(text))
  continuation, gap = continue_greedily(
    network, arguments.prompt.encode("ascii"), arguments.generate, device)

  section = {
    "torch": torch.__version__,
    "device_name": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    "bits_per_byte": sum(bits) / len(text),
    "first_16384_bytes_bits_per_byte": sum(bits[:subset_windows]) / subset_bytes,
    "continuation": continuation.decode("latin-1"),
    "smallest_logit_gap": gap,
  }
  identity = {
    "format": "seqmix-byte-lm-scores-1",
    "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    "text_sha256": hashlib.sha256(text).hexdigest(),
    "text_bytes": len(text),
    "window_bytes": context,
    "windows": len(bits),
    "prompt": arguments.prompt,
    "continuation_bytes": arguments.generate,
  }
  file = json.loads(arguments.scores.read_text()) if arguments.scores.exists() else {}
  models = file.pop("models", {})
  old = file if arguments.model == "byte_lm" else models.get(arguments.model, {})
  if any(old.get(key) != value for key, value in identity.items()):
    old = {}  # other weights or another text: the old figures do not belong beside the new ones
  name = f"{device.type}_{arguments.dtype}"
  reference = {key: value for key, value in old.items() if key.startswith("reference_")}
  if name == "cpu_float32":
    reference = {
      "reference_section": name,
      "reference_bits_per_byte": section["bits_per_byte"],
      "reference_first_16384_bytes_bits_per_byte": section["first_16384_bytes_bits_per_byte"],
      "reference_continuation": section["continuation"],
      "reference_first_16384_bytes_window_bits": bits[:subset_windows],
    }
  sections = {**old.get("sections", {}), name: section}
  new = {**identity, **reference, "sections": sections}
  if arguments.model == "byte_lm":
    file = new
  else:
    models[arguments.model] = new
  arguments.scores.write_text(
    json.dumps({**file, **({"models": models} if models else {})}, indent=2) + "\n")
  print(f"{name}: {section['bits_per_byte']:.6f} bits per byte over {len(text)} bytes, "
        f"{section['first_16384_bytes_bits_per_byte']:.6f} over the first {subset_bytes}")
  print(f"{arguments.prompt}|{section['continuation']}")
  print(f"smallest logit gap {gap:.4f}")


if __name__ == "__main__":
  main()
