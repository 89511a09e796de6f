"""Reads the Lua 5.1 bytecode of a script and lists every use of a global, also on paths that no test runs."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from lupa import lua51

_HEADER: Final = (
    b"\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00"  # 5.1, little-endian, sizes of int, size_t, instruction, number
)
_GETGLOBAL: Final = 5
_SETGLOBAL: Final = 7
_OPCODE: Final = 0x3F
_BX_SHIFT: Final = 14
_NIL, _BOOLEAN, _NUMBER, _STRING = 0, 1, 3, 4


class Global(NamedTuple):
    """One instruction that reads or writes a global."""

    name: str
    line: int
    written: bool


def compiled(text: str) -> bytes:
    """Compile a script as the servers do. Raises SyntaxError with Lua's message."""
    lua = lua51.LuaRuntime(encoding=None)
    compile_ = lua.eval(
        b"function(text) local f, e = loadstring(text, '=script'); return f and string.dump(f), e end"
    )
    result = compile_(text.encode())
    code, problem = result if isinstance(result, tuple) else (result, None)
    if code is None:
        raise SyntaxError(problem.decode())
    return bytes(code)


def globals_of(text: str) -> list[Global]:
    """Return every use of a global in a script."""
    code = compiled(text)
    assert code.startswith(_HEADER), "the layout that this module knows"
    return list(_Reader(code, len(_HEADER)).function())


class _Reader:
    def __init__(self, code: bytes, at: int) -> None:
        self._code = code
        self._at = at

    def _take(self, layout: str) -> tuple[int, ...]:
        layout = "<" + layout
        values = struct.unpack_from(layout, self._code, self._at)
        self._at += struct.calcsize(layout)
        return values

    def _number(self) -> int:
        return self._take("i")[0]

    def _string(self) -> str:
        size = self._take("Q")[0]
        text = self._code[self._at : self._at + size]
        self._at += size
        return text.rstrip(b"\x00").decode(errors="replace")

    def _constant(self) -> str:
        kind = self._take("B")[0]
        if kind == _STRING:
            return self._string()
        self._at += {_NIL: 0, _BOOLEAN: 1, _NUMBER: 8}[kind]
        return ""

    def function(self) -> Iterator[Global]:
        self._string()  # source
        self._take("iiBBBB")  # first line, last line, upvalues, parameters, vararg, stack
        instructions = self._take(f"{self._number()}I")
        constants = [self._constant() for _ in range(self._number())]
        for _ in range(self._number()):
            yield from self.function()
        lines = self._take(f"{self._number()}i")
        for _ in range(self._number()):  # local variables: name, from, to
            self._string()
            self._take("ii")
        for _ in range(self._number()):  # upvalues
            self._string()
        for instruction, line in zip(instructions, lines, strict=True):
            operation = instruction & _OPCODE
            if operation in {_GETGLOBAL, _SETGLOBAL}:
                yield Global(constants[instruction >> _BX_SHIFT], line, operation == _SETGLOBAL)
