"""Steps of environments per second: ours, of many users, and those of peers, of one user at a time.

python benchmarks/gymnasium_steps.py --output benchmarks/results/GYMNASIUM.md

Peers run if they are installed: `sardine-rec` (SARDINE), in the same Python or in that of `--peers_python`.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

SECONDS = 4
REPETITIONS = 5
SIZES = (1, 100, 1000, 10000)
# Runs in the Python of the peers: prints {"name": ..., "version": ..., "steps_per_second": ...} for each.
PEERS = """
import json, time
try:
    import importlib.metadata, gymnasium, sardine
    env = gymnasium.make("sardine/SlateTopK-Bored-v0") if "sardine/SlateTopK-Bored-v0" in gymnasium.registry else None
    env = env or gymnasium.make([name for name in gymnasium.registry if "sardine" in name.lower()][0])
    env.action_space.seed(0)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    best = []
    for _ in range(REPETITIONS):
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            steps += 1
            if terminated or truncated:
                env.reset()
        best.append(steps / (time.perf_counter() - started))
    print("PEER", json.dumps({"name": "SARDINE (" + env.spec.id + ")",
                              "version": importlib.metadata.version("sardine-rec"),
                              "steps_per_second": sorted(best)[len(best) // 2]}))
except Exception as error:
    print("PEER", json.dumps({"name": "SARDINE", "error": f"{type(error).__name__}: {error}"[:200]}))
"""


def ours(num_envs: int) -> float:
    """Return the median user-steps per second of the default world."""
    import gymnasium
    from gymnasium.utils.performance import benchmark_vector_step

    import recsys_po_rl.interop  # noqa: F401

    env = gymnasium.make_vec("recsys_po_rl/InterestEvolution-v0", num_envs=num_envs)
    benchmark_vector_step(env, target_duration=1, seed=0)  # compilation
    return statistics.median(benchmark_vector_step(env, SECONDS, seed=0) for _ in range(REPETITIONS))


def peers(python: str) -> list[str]:
    """Return rows of the peers that are installed in a Python."""
    source = PEERS.replace("REPETITIONS", str(REPETITIONS)).replace("SECONDS", str(SECONDS))
    ran = subprocess.run([python, "-c", source], capture_output=True, text=True, check=False)
    rows = []
    for line in ran.stdout.splitlines():
        if line.startswith("PEER "):
            peer = json.loads(line.removeprefix("PEER "))
            speed = f"{peer['steps_per_second']:,.0f}" if "steps_per_second" in peer else peer["error"]
            rows.append(f"| {peer['name']} {peer.get('version', '')}, one user | {speed} |")
    return rows


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="benchmarks/results/GYMNASIUM.md")
    parser.add_argument("--peers_python", default=sys.executable)
    flags = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [f"| ours, {num_envs} users | {ours(num_envs):,.0f} |" for num_envs in SIZES]
    rows += peers(flags.peers_python)
    lines = [
        "# Steps of environments",
        "",
        "Made by `python benchmarks/gymnasium_steps.py`: Gymnasium's `benchmark_vector_step` (actions sampled in the",
        f"loop), the median of {REPETITIONS} times {SECONDS} s, all in one run. World of the default experiment: 100",
        "documents, slates of 2, 10 topics. Peers have other worlds: a row says how many steps a loop gets.",
        "",
        f"{datetime.date.today()}, {os.cpu_count()} cores, load {load:.1f} at the start, "
        f"Python {platform.python_version()}.",
        "",
        "| environment | user-steps per second |",
        "|---|---|",
        *rows,
        "",
    ]
    with open(flags.output, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
