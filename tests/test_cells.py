"""Names in tables: whatever they hold, they are written, opened and read back."""

import csv
import random

import pytest

from madrnet_timm.cells import flag_of, from_cell, printable, to_cell
from madrnet_timm.errors import InputError
from madrnet_timm.files import read_csv, write_csv, write_table

NAMES = [
    "head.png", "Kröte.png", "C:\\crops\\x1.png", "a\rb", "a\nb\r\nc", "a\tb", "caf\udce9.png", "\ud800", "\\xe9",
    "\\x5c", "\\", "=1+1", "+x", "-x", "@x", "'=1", "''-x", "'", "'x", "-5", "+1e3", "a=b", '"quoted", with comma',
    "a;b", "頭.png",
]  # fmt: skip


def test_true_and_false_in_many_languages():
    assert {flag_of(text) for text in ("True", "TRUE", " wahr", "VRAI", "PRAWDA", "WAAR", "ИСТИНА", "1", "DOĞRU")} == {
        True
    }
    assert {flag_of(text) for text in ("False", "FALSCH", "FAUX", "FAŁSZ", "ONWAAR", "ЛОЖЬ", "0", "YANLIŞ")} == {False}
    assert {flag_of(text) for text in ("", "maybe", "2", "None")} == {None}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back(name):
    cell = to_cell(name)
    assert from_cell(cell) == name
    assert from_cell(printable(name)) == name or name.startswith("'")  # apostrophes belong to cells
    cell.encode()
    assert not any(ord(character) < 32 for character in cell)
    assert cell[:1] not in tuple("=+-@") or float(cell) is not None  # a number is no formula


def test_names_drawn_at_random_come_back_and_differ():
    rng = random.Random(0)
    letters = "\\\\xux5c41d8e9'''=+-@\udce9\ud800\r\n é"
    names = {"".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(5000)}
    cells = {to_cell(name) for name in names}
    assert len(cells) == len(names)
    assert all(from_cell(to_cell(name)) == name for name in names)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_take_every_name(tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t.{kind}"
    write_table(path, [{"file": name, "p_=x\udcff": 0.5} for name in NAMES])
    if kind == "csv":
        assert [row["file"] for row in read_csv(path)] == NAMES
        assert list(read_csv(path)[0]) == ["file", "p_=x\udcff"]
        with path.open(newline="", encoding="utf-8") as opened:
            assert len(list(csv.reader(opened))) == len(NAMES) + 1
    else:
        from pyarrow import parquet

        assert [from_cell(cell) for cell in parquet.read_table(path)["file"].to_pylist()] == NAMES


def test_what_spreadsheets_save_is_read(tmp_path):
    rows = [{"file": "Kröte.png", "fold": "0"}, {"file": "a;b", "fold": "1"}]
    write_csv(tmp_path / "plain.csv", rows)
    text = (tmp_path / "plain.csv").read_bytes()
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b",\r\n")
    (tmp_path / "semicolons.csv").write_text('\ufefffile;fold\r\nKröte.png;0\r\n"a;b";1\r\n;\r\n', encoding="utf-8")
    (tmp_path / "tabs.csv").write_text('file\tfold\nKröte.png\t0\n"a;b"\t1\n', encoding="utf-8")
    for name in ("plain", "bom", "semicolons", "tabs"):
        assert read_csv(tmp_path / f"{name}.csv") == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file\nKr\xf6te.png\n", "not in UTF-8; save it as CSV UTF-8"),
        (b"a,b\n1,2\n3\n", "row 2: 1 cells; expected 2"),
        (b"a,a\n1,2\n", "two columns of the same name"),
        (b'a\n"' + b"x" * 200_000 + b'"\n', "can't be read as CSV"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read_csv(tmp_path / "t.csv")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="No such file"):
        read_csv(tmp_path / "none.csv")
