"""Run under `unshare --net`: a call goes through the service where there is no network but loopback.

Prints, as JSON, the call's status and how many packets the kernel was asked to send elsewhere meanwhile, whoever
asked: Python, or a library in C++. The last number proves that the count counts: it is of one such attempt.
"""

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import httpx2

_SET_FLAGS = 0x8914
_UP = 0x1
_ELSEWHERE = ("192.0.2.1", 80)  # an address of no one's, RFC 5737


def main() -> None:
    data_dir, call = Path(sys.argv[1]), Path(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
    status = _served(data_dir, call)
    counted = _attempts()
    with socket.socket() as probe:
        probe.settimeout(1)
        probe.connect_ex(_ELSEWHERE)
    print(json.dumps({"status": status, "attempts": counted, "with one more": _attempts()}))


def _served(data_dir: Path, call: Path) -> str:
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    environment = {**os.environ, "CALLAUDIT_DATA_DIR": str(data_dir)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as service:
        assert service.stderr
        try:
            found = None
            while not found and (line := service.stderr.readline()):
                found = re.search(r"http://\S+", line)
            assert found, "the service did not start"
            answer = httpx2.post(f"{found[0]}/v1/calls", files={"file": call.read_bytes()}, timeout=60)
            for _ in range(1200):
                status = httpx2.get(f"{found[0]}{answer.headers['location']}", timeout=60).json()["status"]
                if status in ("done", "failed"):
                    return str(status)
                time.sleep(0.1)
            return "too slow"
        finally:
            service.terminate()


def _attempts() -> int:
    """Without a route, or as names asked of a server: the service itself speaks TCP on loopback only."""
    named = {}
    lines = Path("/proc/self/net/snmp").read_text("ascii").splitlines()
    for names, values in zip(lines[0::2], lines[1::2], strict=True):
        layer = names.split(":")[0]
        named |= {f"{layer}{n}": int(v) for n, v in zip(names.split()[1:], values.split()[1:], strict=True)}
    six = dict(line.split() for line in Path("/proc/self/net/snmp6").read_text("ascii").splitlines())
    return named["IpOutNoRoutes"] + named["UdpOutDatagrams"] + int(six["Ip6OutNoRoutes"]) + int(six["Udp6OutDatagrams"])


if __name__ == "__main__":
    main()
