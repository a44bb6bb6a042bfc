"""Fresh Python processes that need not import PyTorch first: forks of one that has.

The process holds libraries alone, none of which reads the Hub's variables; timm, the Hub's client and this package are
imported by each fork, under its own environment. A fork that is to begin with the package, too, is one of a helper, a
fork itself, which has imported it under that environment; the last two helpers are kept.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    "cv2", "matplotlib.figure", "numpy", "PIL.Image", "safetensors.torch", "scipy.stats", "torch", "torch._dynamo",
    "torchvision", "tqdm", "yaml",
)  # fmt: skip
PACKAGE = (
    "huggingface_hub.hf_api", "timm", "madrnet_timm.cli", "madrnet_timm.commands.predict",
    "madrnet_timm.data.measuring", "madrnet_timm.hub.publish", "madrnet_timm.inference.predict",
    "madrnet_timm.inference.report",
)  # fmt: skip
MOST_HELPERS = 2


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
        package: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end.

        Args:
            args: Of Python: ``-m module``, ``-c code`` or a script, and what follows.
            env: Its whole environment; that of the tests by default.
            cwd: Its folder.
            started: Is told the process's number.
            timeout: Seconds until it is killed.
            package: It begins with the package imported, which saves a second where the environment was used before.
        """
        words = [str(arg) for arg in args]
        with tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder, name) for name in ("stdout", "stderr")]
            request = {
                "args": words, "env": dict(os.environ if env is None else env), "cwd": str(cwd or Path.cwd()),
                "streams": [str(path) for path in streams], "timeout": timeout, "package": package,
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


def search_path() -> None:
    """Put the folders of $PYTHONPATH first, as a new Python would."""
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


class Helper:
    """A fork that has imported the package under an environment, and is forked in turn."""

    def __init__(self, env: dict[str, str], others: list["Helper"]) -> None:
        self.socket, own = socket.socketpair()
        self.pid = os.fork()
        self.is_here = self.pid == 0
        if self.is_here:
            for end in (self.socket, *(other.socket for other in others)):
                end.close()
            os.environ.clear()
            os.environ.update(env)
            search_path()
            for module in PACKAGE:
                importlib.import_module(module)
            gc.freeze()
            self.socket = own
        else:
            own.close()
        self.requests, self.answers = self.socket.makefile("r"), self.socket.makefile("w")

    def ask(self, line: str, answers: IO[str]) -> None:
        """Have a request answered: the number of the process, and how it ended."""
        self.answers.write(line)
        self.answers.flush()
        for _ in range(2):
            print(self.requests.readline(), end="", file=answers, flush=True)

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for end in (self.requests, self.answers, self.socket):
            end.close()


def serve(requests: IO[str], answers: IO[str], is_helper: bool = False) -> dict[str, Any] | None:
    """Fork for each request; returns None at the end, and in each fork what it has to run."""
    helpers: dict[str, Helper] = {}
    for line in requests:
        request = json.loads(line)
        if request["package"] and not is_helper:
            key = json.dumps(request["env"], sort_keys=True)
            if key not in helpers:
                helper = Helper(request["env"], list(helpers.values()))
                if helper.is_here:
                    return serve(helper.requests, helper.answers, is_helper=True)
                helpers[key] = helper
            if len(helpers) > MOST_HELPERS:
                helpers.pop(next(iter(helpers))).end()
            helpers[key] = helpers.pop(key)  # the last one that was asked
            helpers[key].ask(line, answers)
            continue
        child = os.fork()
        if child == 0:
            return request
        print(child, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Go on as ``python ARGUMENTS``."""
    for fd, path, flags in zip(
        (0, 1, 2), ("/dev/null", *request["streams"]), (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True
    ):
        os.dup2(os.open(path, flags), fd)
    os.chdir(request["cwd"])
    signal.alarm(request["timeout"])
    option, *rest = request["args"]
    sys.path[0] = str(Path(option).parent) if option not in ("-c", "-m") else ""
    if not request["package"]:  # else the helper has done it
        os.environ.clear()
        os.environ.update(request["env"])
        search_path()
    if option == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif option == "-m" and rest[0] in sys.modules:  # which must not be run a second time
        module = sys.modules[rest[0]]
        sys.argv = [str(module.__file__), *rest[1:]]
        module.main()
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
    found = serve(sys.stdin, sys.stdout)
    if found is not None:
        become(found)
