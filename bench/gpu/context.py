# SPDX-License-Identifier: Apache-2.0
"""What a result file says of the machine and of the software on it."""
import shlex
import subprocess
import sys

import folders
from record import shown


def nvidia_smi(*fields):
    """name -> text; nothing where nvidia-smi does not answer."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader", "--id=0"],
            capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if answer.returncode != 0 or not answer.stdout.strip():
        return {}
    return dict(zip(fields, (part.strip() for part in answer.stdout.splitlines()[0].split(","))))


def clocks():
    return ", ".join(
        nvidia_smi("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu").values())


def commit():
    try:
        answer = subprocess.run(
            ["git", "-C", str(folders.ROOT), "describe", "--always", "--dirty", "--abbrev=12",
             "--exclude=*"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return answer.stdout.strip() or "unknown"


def machine(torch, library, arguments):
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    told = nvidia_smi("driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit")
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "l2_bytes": getattr(properties, "L2_cache_size", 60_000_000),
        "driver": told.get("driver_version", "unknown"),
        "max_clocks": ", ".join(told.get(k, "?") for k in ("clocks.max.sm", "clocks.max.mem")),
        "power_limit": told.get("power.limit", "unknown"),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "seqmix": f"{library.version}, commit {arguments.commit or commit()}",
        "rounds": arguments.rounds,
        "command": shlex.join(["bench/gpu/run.py", *shown(sys.argv[1:])]),
    }
