"""Real S3 servers on loopback for the tests of every room: SeaweedFS, and hadro, which fails on purpose.

What it is: `seaweed` and `hadro`, context managers that start a server on free ports, wait until it answers and stop it again;
`serving`, for a server of the test's own.
What it is not: fixtures. A test folder wraps what it needs in one of its own, once a module:

    @pytest.fixture(scope="module")
    def server(tmp_path_factory):
        with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
            yield server

`Client(server.environment)` speaks to it. SeaweedFS makes a bucket with the first object that is written into it; hadro serves a
folder's folders as buckets and is read-only. Facts: flags of SeaweedFS 4.48, whose other ports collide unless they are named.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from urllib.request import urlopen

from kimivl.data.store.client import Client

ACCESS, SECRET = "kimivl-tests", "kimivl-tests-secret"
PATIENCE = 60.0  # seconds until a server that does not answer is an error
ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


@contextmanager
def serving(server: BaseServer) -> Iterator[BaseServer]:
    """Around the use of a server that lives in this process."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Server:
    """A running server. `endpoint`: as "http://127.0.0.1:1234"; `metrics`: where SeaweedFS tells what it counts."""

    endpoint: str
    process: subprocess.Popen
    metrics: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What points a client at it."""
        return environment(self.endpoint)

    def answered(self) -> Counter[str]:
        """How many requests SeaweedFS has answered, by kind: PUT, GET, …; those of the metrics are not counted. It counts a
        moment after it answers, so this waits until the numbers stand still.
        """
        counts, before = self._counted(), None
        while counts != before:
            time.sleep(0.3)
            counts, before = self._counted(), counts
        return counts

    def _counted(self) -> Counter[str]:
        with urlopen(self.metrics, timeout=PATIENCE) as answer:
            text = answer.read().decode()
        counts: Counter[str] = Counter()
        for labels, count in re.findall(r"^SeaweedFS_s3_request_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            counts[re.search(r'type="(\w+)"', labels)[1]] += int(float(count))
        return counts


def environment(endpoint: str) -> dict[str, str]:
    """AWS_* variables for an endpoint with the tests' credentials."""
    return {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
    }  # fmt: skip


@contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """SeaweedFS with its data in `folder`, readable and writable with the tests' credentials only."""
    identity = {"name": "tests", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}], "actions": ACTIONS}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")] + ["metricsPort"]
    ports = dict(zip(names, free_ports(len(names))))
    flags = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3", f"-s3.config={folder / 's3.json'}"]
    flags += [
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=200",  # every bucket takes several, and by default there are eight
    ]
    flags += [f"-{name}={port}" for name, port in ports.items()]
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    metrics = f"http://127.0.0.1:{ports['metricsPort']}/metrics"
    with _running([weed, "server", *flags], folder / "weed.log", ports["s3.port"], metrics) as server:
        client = Client(server.environment)
        _until(server, lambda: client.put("s3://kimivl-ready/probe", b"ready"))
        yield server


@contextmanager
def hadro(folder: Path, *flags: str) -> Iterator[Server]:
    """hadro over the folders of `folder`, which are its buckets; `flags`: as "--error-rate=0.05", "--latency-ms=20"."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "hadro", str(folder), f"--port={port}", "--log-level=warning", *flags]
    with _running(command, folder / "hadro.log", port) as server:
        _until(server, lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close())
        yield server


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _running(command: Sequence[str], log: Path, port: int, metrics: str = "") -> Iterator[Server]:
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            yield Server(f"http://127.0.0.1:{port}", process, metrics)
        except TimeoutError as error:
            raise TimeoutError(f"{error}:\n{log.read_text(errors='replace')[-2000:]}") from None
        finally:
            process.kill()  # nothing of it is needed again, and SeaweedFS takes ten seconds to end politely


def _until(server: Server, probe) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            probe()
            return
        except OSError as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{server.process.args[0]} does not answer at {server.endpoint} ({error})") from None
            time.sleep(0.1)
