"""How commands end: a user's mistake is one line, a bug of ours a traceback; pipes, Ctrl-C and `kill -9`."""

import argparse
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

import madrnet_command
from madrnet_timm import cli
from madrnet_timm.command import run_command
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and /dev/full")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """64 drawn heads: enough for two processes."""
    folder = tmp_path_factory.mktemp("crops")
    for number in range(64):
        Image.fromarray(draw_head("Normal", seed=number % 4).image).save(folder / f"{number:02}.png")
    return folder


def test_help_and_version_need_no_pytorch():
    """What takes long is not imported; `python -c 'import timm'` takes a dozen times as long."""
    script = """
import sys
import madrnet_command
try:
    madrnet_command.main()
finally:
    print(sorted({"torch", "timm", "numpy", "madrnet_timm"} & set(sys.modules)))
"""
    for word, shown in (("--help", madrnet_command.VERBS["measure"]), ("--version", "madrnet-timm 0.")):
        run = subprocess.run([sys.executable, "-c", script, word], capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stderr) == (0, "")
        assert shown in run.stdout
        assert run.stdout.splitlines()[-1] == "[]"


WITHOUT_PYTORCH = """
import json, sys
import madrnet_command
for words in json.loads(sys.argv[1]):
    sys.argv = ["madrnet", *words]
    try:
        madrnet_command.main()
    except SystemExit as stop:
        print("::", *words[:2], stop.code or 0, *sorted({"torch", "timm"} & set(sys.modules)), "::")
"""


def test_what_asks_no_network_imports_no_pytorch(crops, tmp_path):
    rows = [f"0,{n % 2},{n},{'ab'[n % 2]},a" for n in range(6)]
    (tmp_path / "folds.csv").write_text("\n".join(["seed,fold,file,label,prediction", *rows]))
    rows = [f"{n:02}.png,{'ab'[n % 2]},False,True,{1 - n % 2},{n % 2}" for n in range(6)]
    (tmp_path / "heads.csv").write_text("\n".join(["file,prediction,abstain,ok,p_a,p_b", *rows]))
    (tmp_path / "heads.csv.json").write_text(json.dumps({"label_names": ["a", "b"], "directory": str(crops)}))
    for n in range(4):
        (tmp_path / "classes" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(crops / f"{n:02}.png", tmp_path / "classes" / "ab"[n % 2])
    shown = {
        ("measure", crops / "00.png"): "aspect_ratio",
        ("data", "stats", "--data-dir", tmp_path / "classes"): "groups across classes",
        ("compare", tmp_path / "folds.csv", tmp_path / "folds.csv"): "McNemar",
        ("report", tmp_path / "heads.csv"): "open it in a browser",
        ("models",): "madrnet_tf_efficientnet_lite0.smids",
        ("train", "--help"): "usage: madrnet train",
    }
    words = [[str(word) for word in line] for line in shown]
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH, json.dumps(words)], capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    found = run.stdout.split("::")[:-1]
    assert len(found) == 2 * len(shown)
    for line, expected, what, ending in zip(words, shown.values(), found[::2], found[1::2], strict=True):
        assert expected in what, run.stderr
        assert ending.split() == [*line[:2], "0"], run.stderr  # no library after the status


@pytest.mark.parametrize(("terminal", "seconds", "told"), [(True, 0.3, True), (True, 0, False), (False, 0.3, False)])
def test_what_takes_a_while_is_told_on_a_terminal(terminal, seconds, told, monkeypatch):
    monkeypatch.setattr(madrnet_command, "_SILENCE", 0.1)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with madrnet_command._telling("loading ..."):
        time.sleep(seconds)
    time.sleep(0.2)
    assert sys.stderr.getvalue() == ("loading ...\n" if told else "")


def test_the_quick_help_is_that_of_the_real_verbs():
    quick, verbs = madrnet_command.command_parser()
    for name, line in madrnet_command.VERBS.items():
        verbs.add_parser(name, help=line)
    assert quick.format_help() == cli.parser().format_help()
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"madrnet": "madrnet_command:main"}


def test_every_help_shows_an_example():
    def parsers(parser):
        inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        return [p for action in inner for p in action.choices.values() for p in parsers(p)] if inner else [parser]

    found = parsers(cli.parser())
    assert len(found) > len(madrnet_command.VERBS)
    for parser in found:
        words = " ".join((parser.epilog or "").split())
        assert re.search(r"[Ee]xamples?: madrnet \S", words), parser.prog


def test_a_verb_through_the_command_of_the_package(fresh_python, crops):
    run = fresh_python("-m", "madrnet_command", "measure", crops / "00.png")
    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 2
    misspelt = fresh_python("-m", "madrnet_command", "mesure", crops)
    assert misspelt.returncode == 2
    assert "invalid choice: 'mesure' (choose from" in misspelt.stderr


def test_debug_shows_where_and_the_hidden_cause(madrnet, tmp_path):
    config = tmp_path / "config.json"
    config.write_text("{")
    run = madrnet("export", "--model", tmp_path, "--output", "x.onnx", "--debug")
    assert run.returncode == 2
    assert "JSONDecodeError" in run.stderr
    assert run.stderr.splitlines()[-1].startswith(f"error: {config}")
    assert madrnet("export", "--model", tmp_path, "--output", "x.onnx").stderr.count("\n") == 1


OUTPUT = "import os, sys; {}; from madrnet_timm.cli import main; main(sys.argv[1:])"


@needs_linux
def test_output_to_a_full_disk_is_one_line(fresh_python, crops):
    script = OUTPUT.format("os.dup2(os.open('/dev/full', os.O_WRONLY), 1)")
    run = fresh_python("-c", script, "measure", crops / "00.png")
    assert run.returncode == 2
    *_, last = run.stderr.splitlines()
    assert last == "error: the output can't be written: No space left on device (--debug shows where)"
    assert "Traceback" not in run.stderr
    assert "Exception ignored" not in run.stderr


def test_a_closed_pipe_ends_it_quietly(fresh_python, crops):
    """As ``| head``."""
    script = OUTPUT.format("r, w = os.pipe(); os.close(r); os.dup2(w, 1)")
    run = fresh_python("-c", script, "measure", crops / "00.png")
    assert run.returncode == 141
    assert run.stderr in ("", "1 measured, 0 of them not to be trusted (column flags)\n")


def test_output_that_is_closed(fresh_python, crops, tmp_path):
    """Neither a traceback nor what belongs to stderr in the file that gets its number."""
    script = OUTPUT.format("sys.stdout = sys.stderr = None")
    run = fresh_python("-c", script, "measure", crops / "00.png", "--output", tmp_path / "a.csv")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


WITHOUT_OPENCV = """
import sys, timm
for name in [name for name in sys.modules if name.partition(".")[0] == "cv2"]:
    del sys.modules[name]
sys.path.insert(0, {folder!r})
import madrnet_timm, madrnet_command
model = timm.create_model("madrnet_test_resnet")  # needs none
try:
    madrnet_timm.create_transform(model)
except ImportError as error:
    print(error)
for module in ("data.sources", "inference", "morphology"):
    try:
        __import__("madrnet_timm." + module)
    except ImportError as error:
        print(error)
for verb in madrnet_command.VERBS:
    sys.argv = ["madrnet", verb, "--help"]
    try:
        madrnet_command.main()
    except SystemExit as stop:
        print(stop.code)
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2"),
            "OpenCV needs libGL.so.1, which is not on this system; apt-get install libgl1 libglib2.0-0, or put "
            "opencv-python-headless in the place of opencv-python",
        ),
        (
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            "OpenCV is not installed; pip install opencv-python-headless",
        ),
    ],
    ids=["a library of the system", "OpenCV"],
)
def test_what_opencv_lacks_is_one_line_wherever_one_comes_in(fresh_python, tmp_path, error, line):
    (tmp_path / "cv2.py").write_text(f"raise {type(error).__name__}({str(error)!r}, name={error.name!r})")
    run = fresh_python("-c", WITHOUT_OPENCV.format(folder=str(tmp_path)))
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[:4] == [line] * 4
    lacking = run.stdout.splitlines().count("2")
    assert run.stdout.count("usage: madrnet ") == len(madrnet_command.VERBS) - lacking  # those whose help needs none
    assert lacking
    assert run.stderr.splitlines() == [f"error: {line}"] * lacking


@pytest.mark.parametrize("verb", ["quickstart", "train"])
def test_a_verb_whose_help_needs_no_opencv_says_so_when_it_runs(fresh_python, tmp_path, verb):
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')")
    forget = "[sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] == 'cv2']"
    script = OUTPUT.format(f"{forget}; sys.path.insert(0, {str(tmp_path)!r})")
    run = fresh_python("-c", script, verb, "--output", tmp_path / "out")
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == "error: OpenCV is not installed; pip install opencv-python-headless"


def test_another_module_that_opencv_lacks_is_shown_as_it_is(fresh_python, crops, tmp_path):
    (tmp_path / "cv2.py").write_text("import nobodys_module")
    forget = "[sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] == 'cv2']"
    script = OUTPUT.format(f"{forget}; sys.path.insert(0, {str(tmp_path)!r})")
    run = fresh_python("-c", script, "measure", crops / "00.png")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nobodys_module'"


def _raise(error):
    raise error


def _latin1():
    return "é".encode("latin-1").decode("utf-8")


USERS = {
    "a file that is gone": (lambda: os.stat("/no/such/file"), [], "error: /no/such/file: No such file or directory"),
    "an encoding": (_latin1, [], "error: 'utf-8' codec can't decode byte 0xe9 in position 0"),
    "an address": (lambda: urlsplit("http://[::1"), [], "error: Invalid IPv6 URL"),
    "JSON": (lambda: json.loads("{"), [], "error: Expecting property name"),
    "a NUL": (lambda: os.stat("a\0b"), [], "error: embedded null byte"),
    "a word": (lambda: int("²"), ["--fold", "²"], "error: invalid literal for int() with base 10: '²'"),
    "ours": (lambda: _raise(InputError("x: expected y")), [], "error: x: expected y"),
}


@pytest.mark.parametrize("name", USERS)
def test_the_last_net_catches_what_the_user_has_caused(name, monkeypatch, capsys):
    main, words, line = USERS[name]
    monkeypatch.setattr(sys, "argv", ["madrnet", *words])
    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == 2
    found = capsys.readouterr().err
    assert found.startswith(line)
    assert found.count("\n") == 1


BUGS = {
    "a value": lambda: [1].index(2),
    "two lengths": lambda: list(zip([1], [], strict=True)),
    "a key": lambda: {}["x"],
    "a module of nobody": lambda: _raise(ModuleNotFoundError("x", name="nobody")),
    "a part of an extra": lambda: _raise(ModuleNotFoundError("x", name="datasets.nothing")),
    "another library": lambda: _raise(ImportError("libfoo.so: cannot open shared object file: No such file")),
    "a file of the package": lambda: (Path(cli.__file__).parent / "gone.yaml").open(),
    "an error without a number": lambda: _raise(OSError("something")),
    "a descriptor": lambda: _raise(OSError(errno.EBADF, "Bad file descriptor")),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_of_ours_keeps_its_traceback(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["madrnet", "measure", "crops"])
    with pytest.raises((ValueError, KeyError, ImportError, OSError)):
        run_command(BUGS[name])


@pytest.mark.parametrize(
    ("module", "extra"), [("sklearn", "train"), ("pyarrow", "train"), ("onnx", "onnx"), ("onnxruntime", "onnx")]
)
def test_what_is_missing_is_named_with_its_extra(module, extra, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["madrnet"])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit):
        run_command(lambda: import_module(module))
    assert capsys.readouterr().err == f"error: {module} is not installed; pip install 'madrnet-timm[{extra}]'\n"


def _children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _measured_and_stopped(fresh_python, crops, stop):
    """Run ``measure`` with two processes, stop it when they are there; how it ended, and who is left."""
    helpers = []

    def watch(pid):
        while len(_children(pid)) < 3:  # the workers, and who keeps their semaphores
            time.sleep(0.01)
        helpers.extend(_children(pid))
        stop(pid)

    # as from a terminal, though the tests may run where Ctrl-C is ignored
    script = OUTPUT.format("import signal; signal.signal(signal.SIGINT, signal.default_int_handler); os.setsid()")
    started = lambda pid: threading.Thread(target=watch, args=(pid,), daemon=True).start()  # noqa: E731
    run = fresh_python("-c", script, "measure", crops, "--processes", "2", started=started, timeout=120)
    patience = time.monotonic() + 90
    while any(map(_runs, helpers)) and time.monotonic() < patience:
        time.sleep(0.05)
    left = [pid for pid in helpers if _runs(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(helpers) == 3
    return run, left


@needs_linux
def test_an_interrupted_measurement_is_one_line_and_leaves_nobody(fresh_python, crops):
    """Ctrl-C reaches every process of the terminal."""
    run, left = _measured_and_stopped(fresh_python, crops, lambda pid: os.killpg(pid, signal.SIGINT))
    assert run.returncode == 130
    assert run.stderr == f"found {len(list(crops.iterdir()))} images\n\ninterrupted\n"
    assert left == []


@needs_linux
def test_a_killed_measurement_leaves_nobody(fresh_python, crops):
    run, left = _measured_and_stopped(fresh_python, crops, lambda pid: os.kill(pid, signal.SIGKILL))
    assert run.returncode == -signal.SIGKILL
    assert left == []


def test_no_bars_where_nobody_looks(madrnet, crops, tmp_path):
    for number in range(100, 140):
        (tmp_path / f"{number}.png").write_bytes((crops / f"{number % 64:02}.png").read_bytes())
    run = madrnet("measure", crops, tmp_path, "--processes", "1", "--output", tmp_path / "a.csv")
    assert run.returncode == 0
    assert re.fullmatch(r"found 104 images\n104 measured, \d+ of them not to be trusted \(column flags\)\n", run.stderr)
