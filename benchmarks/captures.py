"""How long a sample of captured requests takes: ``python -m benchmarks.captures``.

Prints one JSON line: megabytes read, seconds, and the most memory of the whole process, in
megabytes. What is read is made up: a file of 64 MB, which the process holds, again and again, each
time a stream as S3 gives it. The time of the network is not in it.
"""

from __future__ import annotations

import argparse
import base64
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "functions"))

from sizing.production.captures import Sampler, lines

_CHUNK = 1 << 20
_FILE = 64 * 10**6


def _file(chance: Random) -> bytes:
    """A file of records of 1 to 60 KB, a third of them base64."""
    made: list[bytes] = []
    size = 0
    while size < _FILE:
        body = chance.randbytes(chance.randint(1_000, 40_000))
        encoding = chance.choice(("JSON", "CSV", "BASE64"))
        data = base64.b64encode(body).decode() if encoding == "BASE64" else body.hex()
        given = {"observedContentType": "x/x", "mode": "INPUT", "data": data, "encoding": encoding}
        record = {"captureData": {"endpointInput": given}, "eventMetadata": {}, "eventVersion": "0"}
        made.append(json.dumps(record).encode())
        size += len(made[-1])
    return b"\n".join(made)


def _chunks(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), _CHUNK):
        yield content[at : at + _CHUNK]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captures", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1_024)
    parser.add_argument("--sample", type=int, default=1_000)
    arguments = parser.parse_args()
    content = _file(Random(1))
    sampler = Sampler(arguments.sample, 1)
    files = -(-arguments.megabytes * 10**6 // len(content))
    began = time.perf_counter()
    for _ in range(files):
        for line in lines(_chunks(content)):
            sampler.show(line)
    seconds = time.perf_counter() - began
    found = sampler.summary("made up", files, files)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {
        "megabytes": round(files * len(content) / 1e6),
        "records": found.records,
        "sampled": found.sampled,
        "seconds": round(seconds, 1),
        "most_memory_mb": round(most / 1024),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
