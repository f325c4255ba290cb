"""Seconds from ``aisle serve FILE`` to the first page of words, and to the first page of ``hybrid``, over HTTP.

A process of its own each time, an empty shop folder, nothing cached: what a person waits who has only a product file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from aisle.data.sets import data_root

FILES = {
    "esci": ("esci-us-150/products.jsonl.gz", "wireless headphones"),
    "icecat": ("icecat-electronics/products.jsonl.gz", "notebook"),
}
LONGEST_S = 600.0


def asked(address: str) -> tuple[int, bytes]:
    """Status and body; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def first_pages(file: Path, query: str) -> dict[str, float]:
    """``first_page_s`` of words and of ``hybrid``.  Raises SystemExit when a page does not come."""
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    search = f"{root}/api/search?q={query.replace(' ', '+')}"
    with TemporaryDirectory(prefix="aisle-serve-") as scratch:
        command = [sys.executable, "-c", "from aisle.cli import main; main()", "serve", str(file), "--port", str(port)]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--into", f"{scratch}/shop"],
            env={**os.environ, "XDG_CACHE_HOME": f"{scratch}/cache"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        found: dict[str, float] = {}
        try:
            while "hybrid" not in found:
                if process.poll() is not None or time.perf_counter() - start > LONGEST_S:
                    raise SystemExit(f"no page of hybrid for {file} (process ended with {process.poll()})")
                status, body = asked(search)
                if status == 200 and json.loads(body)["total"] > 0:
                    found.setdefault("lexical", time.perf_counter() - start)
                    if json.loads(asked(f"{root}/ready")[1])["plan"] == "hybrid":
                        found["hybrid"] = time.perf_counter() - start
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=list(FILES), action="append", dest="sets")
    args = parser.parse_args()
    rows = []
    for name in args.sets or FILES:
        path, query = FILES[name]
        for plan, seconds in first_pages(data_root() / path, query).items():
            rows.append({"metric": f"first_page_s:{name}", "plan": plan, "value": round(seconds, 2)})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
