"""Text from outside, made safe for a terminal, a log line and UTF-8.

Such text is file names, metadata, and messages of other programs.
"""

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, formatting such as reversed order, lone surrogates (names
that aren't UTF-8), line ends."""


_JOINERS = "\u200c\u200d"  # parts of words and emoji


def printable(text: str) -> str:
    """Escapes every character that steers a terminal, breaks a line or can't be encoded.

    Escapes are written with a backslash, as x1b.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _UNSAFE and char not in _JOINERS
        else char
        for char in text
    )


def utf8(text: str) -> str:
    """Escapes what UTF-8 can't hold, the undecodable bytes of a file name; the rest stays."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
