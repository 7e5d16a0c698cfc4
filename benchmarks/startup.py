"""How long `snapplan --help` takes, as a ratio to `python3 -c pass` in the same run; target: at most 8.

Usage: python benchmarks/startup.py
"""

import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 40


def seconds(command):
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main():
    python = Path(sys.executable)
    commands = ([python, "-c", "pass"], [python.with_name("snapplan"), "--help"])
    times = [[seconds(command) for command in commands] for _ in range(ROUNDS)]
    base, asked = (min(column) for column in zip(*times, strict=True))
    print(f"python -c pass: {base * 1000:.1f} ms  snapplan --help: {asked * 1000:.1f} ms")
    print(f"ratio: {asked / base:.2f}")


if __name__ == "__main__":
    main()
