"""Fresh Python processes that need not import PyTorch first: forks of one that has.

The process holds libraries alone, none of which reads the Hub's variables; timm, the Hub's client and this package are
imported by each fork, under its own environment.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = (
    "cv2", "matplotlib.figure", "numpy", "PIL.Image", "safetensors.torch", "scipy.stats", "torch", "torch._dynamo",
    "torchvision", "tqdm", "yaml",
)  # fmt: skip


class FreshPython:
    """Runs ``python ARGUMENTS`` in a fork, as `subprocess.run` would."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(
        self,
        *args: object,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        started: Callable[[int], None] = lambda pid: None,
        timeout: int = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end.

        Args:
            args: Of Python: ``-m module``, ``-c code`` or a script, and what follows.
            env: Its whole environment; that of the tests by default.
            cwd: Its folder.
            started: Is told the process's number.
            timeout: Seconds until it is killed.
        """
        words = [str(arg) for arg in args]
        with tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder, name) for name in ("stdout", "stderr")]
            request = {
                "args": words, "env": dict(os.environ if env is None else env), "cwd": str(cwd or Path.cwd()),
                "streams": [str(path) for path in streams], "timeout": timeout,
            }  # fmt: skip
            self.server.stdin.write(json.dumps(request) + "\n")
            self.server.stdin.flush()
            started(self._answer())
            status = self._answer()
            return subprocess.CompletedProcess(words, status, *(path.read_text() for path in streams))

    def _answer(self) -> int:
        line = self.server.stdout.readline()
        assert line, "the process that is forked is gone"
        return int(line)

    def close(self) -> None:
        self.server.kill()
        self.server.wait()


def serve() -> dict[str, Any] | None:
    """Fork for each request; returns None at the end, and in each fork what it has to run."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Go on as ``python ARGUMENTS``."""
    for fd, path, flags in zip(
        (0, 1, 2), ("/dev/null", *request["streams"]), (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True
    ):
        os.dup2(os.open(path, flags), fd)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    signal.alarm(request["timeout"])
    option, *rest = request["args"]
    sys.path[0] = str(Path(option).parent) if option not in ("-c", "-m") else ""
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if option == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif option == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [option, *rest]
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    for library in LIBRARIES:
        __import__(library)
    gc.freeze()  # what is imported is not walked through at the end of each fork
    found = serve()
    if found is not None:
        become(found)
