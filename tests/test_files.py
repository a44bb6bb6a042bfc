"""Files that are whole or not there, and what is said when the disk does not take them."""

import errno
import os
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from madrnet_timm.errors import InputError
from madrnet_timm.files import (
    as_csv,
    disk_reason,
    fill_table,
    remove_folder,
    replacing,
    replacing_folder,
    reporting_disk_errors,
    write_text,
)


def test_what_the_disk_does_not_take_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (tmp_path / "none" / "a.txt", os.strerror(errno.ENOENT)),
        (tmp_path / "file" / "a.txt", os.strerror(errno.ENOTDIR)),
        (tmp_path / ("n" * 300), os.strerror(errno.ENAMETOOLONG)),
        (tmp_path / "folder", "not of a folder or a device"),
    ):
        with pytest.raises(InputError, match=reason):
            write_text(path, "text")
    with pytest.raises(InputError, match="can't be written"), replacing_folder(tmp_path / "file" / "model"):
        pass
    with pytest.raises(InputError, match=os.strerror(errno.EEXIST)), reporting_disk_errors(tmp_path / "file"):
        (tmp_path / "file").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_by_whatever_writes(tmp_path):
    with (
        pytest.raises(InputError, match="No space left on device") as told,
        reporting_disk_errors(tmp_path / "a"),
        open("/dev/full", "w") as full,
    ):
        full.write("x")
    assert isinstance(told.value.__cause__, OSError)
    with pytest.raises(InputError, match="no space left"), reporting_disk_errors(tmp_path / "a"):
        torch.save(torch.zeros(300_000), "/dev/full")


def test_the_errors_of_safetensors(tmp_path):
    path = tmp_path / "none" / "model.safetensors"
    with pytest.raises(InputError, match=os.strerror(errno.ENOENT)), reporting_disk_errors(path):
        save_file({"a": torch.zeros(3)}, path)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(Exception, match="Error while deserializing"), replacing(tmp_path / "table.csv"):
        load_file(tmp_path / "broken.safetensors")


def test_a_failed_read_or_a_bug_is_no_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), replacing(tmp_path / "a.txt") as beside:
        beside.write_text((tmp_path / "other.txt").read_text())
    with pytest.raises(FileNotFoundError), replacing_folder(tmp_path / "model"):
        (tmp_path / "elsewhere" / "config.json").read_bytes()
    with pytest.raises(RuntimeError, match="shape"), replacing(tmp_path / "a.txt"):
        torch.zeros(3).reshape(2, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")
def test_a_device_is_not_replaced(tmp_path):
    """The user root can do so with /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: expected the name of a file, not of a folder or a device"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()
    os.symlink("/dev/null", tmp_path / "null")
    with pytest.raises(InputError, match="device"):
        write_text(tmp_path / "null", "text")


def test_a_column_of_later_rows_stands_where_they_have_it(tmp_path):
    rows = [{"a": 1, "c": "x"}, {"a": None, "b": 0.5, "c": "y", "d": True}]
    assert as_csv(rows) == "a,b,c,d\n1,,x,\n,0.5,y,True\n"
    assert as_csv([]) == "\n"
    parquet = pytest.importorskip("pyarrow.parquet")
    fill_table(tmp_path / "t", rows * 5000, ".parquet")
    table = parquet.read_table(tmp_path / "t")
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "string", "bool"]
    assert table.to_pylist()[9998:] == [{"a": 1, "b": None, "c": "x", "d": None}, rows[1]]


def test_a_table_is_written_without_holding_its_rows(tmp_path):
    class Rows:
        """A collection that makes each row when it is asked for, and knows how many live."""

        alive = most = 0

        def __len__(self):
            return 20_000

        def __iter__(self):
            for number in range(len(self)):
                yield Row(number=number)

    class Row(dict):
        def __init__(self, **values):
            super().__init__(**values)
            Rows.alive += 1
            Rows.most = max(Rows.most, Rows.alive)

        def __del__(self):
            Rows.alive -= 1

    fill_table(tmp_path / "t.csv", Rows(), ".csv")
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 20_001
    assert Rows.most < 10


@pytest.mark.parametrize(
    "words", ["No space left on device (os error 28)", "IoError(Os { code: 28, kind: StorageFull })"]
)
def test_a_full_disk_is_known_by_what_each_version_of_safetensors_says(words, tmp_path):
    assert disk_reason(SafetensorError(f"Error while serializing: {words}"), tmp_path) == os.strerror(28)


def test_a_removed_folder_leaves_nothing(tmp_path):
    for name in ("model", ".model.part", ".model.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_folder(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    remove_folder(tmp_path / "model")
