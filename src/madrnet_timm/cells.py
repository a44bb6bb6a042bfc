r"""Text in the cells of a table: whatever a file's name holds, it can be written, opened and read back.

- A byte that is not UTF-8, a control character (a line break is one) and a lone surrogate are written as ``\xe9`` or
  ``\ud800``; a backslash that would look like the beginning of one of these is written as ``\x5c``.
- Text that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-`` or ``@`` and is no number) gets
  an apostrophe in front; so does text in which such a beginning follows apostrophes of its own.
"""

import re

__all__ = ["flag_of", "from_cell", "printable", "to_cell"]

_FLAGS = {
    **dict.fromkeys((
        "true", "1", "wahr", "vrai", "verdadero", "vero", "verdadeiro", "waar", "prawda", "pravda", "sant", "sann",
        "sand", "tosi", "igaz", "adevărat", "doğru", "истина", "істина",
    ), True),
    **dict.fromkeys((
        "false", "0", "falsch", "faux", "falso", "onwaar", "fałsz", "nepravda", "falskt", "falsk", "epätosi", "usann",
        "hamis", "fals", "yanliş", "yanlış", "ложь", "хибність",
    ), False),
}  # fmt: skip
"""As Python and the spreadsheets of many languages write them."""

_AMBIGUOUS = re.compile(r"\\(?=x[0-9a-f]{2}|ud[89a-f][0-9a-f]{2})")
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u(d[89a-f][0-9a-f]{2})")
_FORMULA = re.compile("'*[=+@-]")
_QUOTED = re.compile("'+[=+@-]")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python shows a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _unescape(found: re.Match[str]) -> str:
    if found[2]:
        return chr(int(found[2], 16))
    code = int(found[1], 16)
    return chr(code if code < 0x80 else 0xDC00 + code)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def printable(text: str) -> str:
    """Text on one line that can be written as UTF-8; `from_cell` gives it back."""
    return _UNWRITABLE.sub(_escape, _AMBIGUOUS.sub(r"\\x5c", text))


def flag_of(text: str) -> bool | None:
    """What a cell means that is true or false; None for other text."""
    return _FLAGS.get(text.strip().lower())


def to_cell(text: str) -> str:
    """Text as it is written to a table."""
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def from_cell(text: str) -> str:
    """The text that `to_cell` wrote."""
    return _ESCAPED.sub(_unescape, text[1:] if _QUOTED.match(text) else text)
