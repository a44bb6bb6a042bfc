"""A bar on a terminal, lines anywhere else."""

import sys

import pytest

from madrnet_timm import progress as module
from madrnet_timm.progress import progress


def test_lines_now_and_then_in_a_file(monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))  # ten seconds a look
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    assert list(progress(range(8), 8, "measuring", "image")) == list(range(8))
    assert capsys.readouterr().err == "measuring: image 3 of 8 done\nmeasuring: image 6 of 8 done\n"


def test_nothing_is_said_of_what_is_quick(capsys):
    assert list(progress("abc", 3, "measuring", "image")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("count", "shown"), [(4, False), (5, True)])
def test_a_bar_on_a_terminal(monkeypatch, capsys, count, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(count), count, "measuring", "image", shown_from=5)) == list(range(count))
    err = capsys.readouterr().err
    assert ("measuring: 100%|" in err) is shown
    assert ("of 5 done" in err) is False
