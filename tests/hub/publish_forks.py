"""Publish in forks of this process, so that killing one costs no new imports. Reads commands, a JSON line each."""

import json
import os
import sys

import madrnet_timm.hub.publish  # noqa: F401  before the forks
from madrnet_timm.cli import main


def run(arguments: list[str]) -> None:
    child = os.fork()
    if child == 0:
        try:
            main(arguments)
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        os._exit(0)
    print(json.dumps({"pid": child}), flush=True)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


for line in sys.stdin:
    run(json.loads(line))
