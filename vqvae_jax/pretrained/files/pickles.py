"""Pickles, read without running them: what they would call is recorded, and not called.

`pickletools` splits a pickle into operations; the machine here has those that build values, and
none that imports or calls. Nothing in it is recursive, and it needs memory in proportion to the
number of operations.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vqvae_jax.errors import DamagedError, UnsupportedError

_MAX_OPERATIONS = 2**20

# Operations that push their argument.
_VALUES = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # sets would have to hash their elements
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclasses.dataclass(eq=False, frozen=True, slots=True)
class Global:
    """The name of a class or function, module first."""

    name: str


@dataclasses.dataclass(eq=False, slots=True)
class Inert:
    """What a pickle would make by calling something.

    Attributes:
        name: what it would call.
        arguments: with what.
        state: what it would then set it to.
        items: what it would append.
        entries: what it would set by key.
    """

    name: str
    arguments: Any
    state: Any = None
    items: list[Any] = dataclasses.field(default_factory=list)
    entries: dict[Any, Any] = dataclasses.field(default_factory=dict)


def unpickle(
    file: Any, calls: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]
) -> Any:
    """Returns the value of the pickle at a file's position, and leaves the file at its end.

    Dictionaries, lists, tuples and scalars are themselves, sets are lists, and all else is a
    `Global`, an `Inert`, or what `calls` and `persistent` return.

    Args:
        file: has `read`, `readline` and `tell`; `read` must not allocate more than there is.
        calls: functions of ours to call in place of those that a pickle names.
        persistent: maps persistent ids to values.

    Raises:
        DamagedError: it is no pickle.
        UnsupportedError: it needs what is not supported here.
        Exception: it is no pickle either.
    """
    return _Machine(calls, persistent).run(file)


class _Machine:
    def __init__(
        self, calls: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]
    ) -> None:
        self.stack: list[Any] = []
        self._calls, self._persistent = calls, persistent
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def run(self, file: Any) -> Any:
        argument: Any
        for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
            if count == _MAX_OPERATIONS:
                raise UnsupportedError(f"its pickle has over {_MAX_OPERATIONS} operations")
            pop = self.stack.pop
            match operation.name:
                case "PROTO" | "FRAME" | "STOP":
                    pass
                case name if name in _VALUES:
                    self.stack.append(argument)
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    self._memo[argument] = self.stack[-1]
                case "MEMOIZE":
                    self._memo[len(self._memo)] = self.stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    if argument not in self._memo:
                        raise DamagedError(
                            f"its pickle takes {argument} from its memo, where it is not"
                        )
                    self.stack.append(self._memo[argument])
                case name if name in _CONSTANTS:
                    self.stack.append(_CONSTANTS[name])
                case name if name in _EMPTY:
                    self.stack.append(_EMPTY[name]())
                case name if name in _TUPLES:
                    values = [pop() for _ in range(_TUPLES[name])]
                    self.stack.append(tuple(reversed(values)))
                case "MARK":
                    self._outer.append(self.stack)
                    self.stack = []
                case "POP":
                    if self.stack:
                        pop()
                    else:
                        self._since_mark()
                case "POP_MARK":
                    self._since_mark()
                case "DUP":
                    self.stack.append(self.stack[-1])
                case "TUPLE":
                    values = self._since_mark()
                    self.stack.append(tuple(values))
                case "LIST" | "FROZENSET":
                    values = self._since_mark()
                    self.stack.append(values)
                case "DICT":
                    values = self._since_mark()
                    self.stack.append({})
                    self._set(values)
                case "APPEND":
                    self._append([pop()])
                case "APPENDS" | "ADDITEMS":
                    self._append(self._since_mark())
                case "SETITEM":
                    value, key = pop(), pop()
                    self._set([key, value])
                case "SETITEMS":
                    self._set(self._since_mark())
                case "GLOBAL":
                    self.stack.append(Global(argument.replace(" ", ".", 1)))
                case "STACK_GLOBAL":
                    name, module = pop(), pop()
                    self.stack.append(Global(f"{module:s}.{name:s}"))
                case "REDUCE" | "NEWOBJ":
                    arguments, function = pop(), pop()
                    self.stack.append(self._called(function, arguments))
                case "NEWOBJ_EX":
                    keywords, arguments, function = pop(), pop(), pop()
                    self.stack.append(Inert(_name(function), (arguments, keywords)))
                case "INST":
                    arguments = self._since_mark()
                    self.stack.append(Inert(argument.replace(" ", ".", 1), tuple(arguments)))
                case "OBJ":
                    function, *arguments = self._since_mark()
                    self.stack.append(Inert(_name(function), tuple(arguments)))
                case "BUILD":
                    state = pop()
                    if isinstance(self.stack[-1], Inert):
                        self.stack[-1].state = state
                case "BINPERSID":
                    self.stack.append(self._persistent(pop()))
                case _:
                    raise UnsupportedError(f"its pickle uses the operation {operation.name}")
        return self.stack.pop()

    def _since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self._outer.pop()
        return values

    def _append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list | Inert):
            raise DamagedError(f"its pickle appends to a {type(target).__name__}")
        (target.items if isinstance(target, Inert) else target).extend(values)

    def _set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Inert) or len(values) % 2:
            raise DamagedError(f"its pickle sets an item of a {type(target).__name__}")
        entries = target.entries if isinstance(target, Inert) else target
        entries.update(zip(map(_key, values[::2]), values[1::2], strict=True))

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple):
            raise DamagedError(f"its pickle calls with a {type(arguments).__name__}")
        if isinstance(function, Global) and function.name in self._calls:
            return self._calls[function.name](*arguments)
        return Inert(_name(function), arguments)


def _name(function: Any) -> str:
    if not isinstance(function, Global | Inert):
        raise DamagedError(f"its pickle calls a {type(function).__name__}")
    return function.name


def _key(value: Any) -> Any:
    """Returns a key that is hashed without recursion."""
    if isinstance(value, tuple | list | dict | bytearray):
        return Inert(type(value).__name__, (value,))
    return value


def holds(value: Any, kinds: tuple[type, ...], seen: set[int]) -> bool:
    """Whether a value is of some kinds, or has one of them inside, at any depth.

    Args:
        value: what a pickle gave.
        kinds: the classes to look for.
        seen: the ids of values known to hold none, which is extended.
    """
    todo = [value]
    while todo:
        current = todo.pop()
        if isinstance(current, kinds):
            return True
        if isinstance(current, dict | list | tuple | Inert) and id(current) not in seen:
            seen.add(id(current))
            todo.extend(_parts(current))
    return False


def _parts(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case Inert():
            return (value.arguments, value.state, value.items, value.entries)
    return value
