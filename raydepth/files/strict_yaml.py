"""YAML from outside: plain data of one document.

Tags that run code, repeated keys, and aliases that multiply are refused. The job file and the files
of an output folder are read with it.
"""

from collections.abc import Hashable
from typing import Any

import yaml

from raydepth.files.text import printable

MAX_BYTES = 1 << 20
"""Larger than a job file that names ten thousand videos one by one."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # Nine lines of aliases to aliases stand for more values than memory holds.
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not read: write the value", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                problem = f"key {key.value!r} is there twice: one would hide the other"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def load(data: bytes | str) -> Any:
    """Parses one YAML document into plain Python data.

    That is dictionaries, lists, strings, numbers, booleans, dates, bytes and None.

    Raises:
        ValueError: the text is too large, not UTF-8, not YAML, repeats a key, or uses aliases or
            tags of Python objects; the message is one line.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error}") from error
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {printable(' '.join(str(error).split()))}") from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # what converting a scalar runs into, such as !!bool maybe or an integer of 5000 digits
    except Exception as error:
        raise ValueError(
            f"not YAML: a value can't be converted ({printable(str(error))})"
        ) from error
