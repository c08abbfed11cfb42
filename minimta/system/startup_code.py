"""The modules of a submission as code in one file, in place of the many that Python would look for.

To find and open a module's byte code costs more than to run it, and ``sendmail`` needs sixty of them.
``minimta install`` and the package's postinst write the file (admin/install/startup_code) beside the byte
code that it stands for, as minimta/__pycache__/startup.cpython-311; no run of sendmail does. In it:

    magic number of the byte code, so that no other Python takes it        importlib.util.MAGIC_NUMBER
    size of the index in octets                                            8 octets, the lowest first
    index: name of a module -> its source, is it a package, time (ns) and  marshal
           size of the source, where its code begins and ends below
    order: name -> the modules that it imports and those that they do,     marshal, behind the index
           each behind all that it needs itself
    code of each                                                           marshal

What a module imports is put in place before it runs, without the import system, which would take as
long for it as all the code takes to run.

It is a cache like the byte code, and obeyed under the same terms: a module whose source is not the one
that is written down is loaded as ever, and so is everything if the file is damaged. Only root's file
counts, and none that others can write: what runs here may be root's.
"""

# No "from __future__ import annotations": that is a module to look for, too.

import marshal
import os
import stat
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    #: a module's full name -> the row of its source
    Index = dict[str, tuple[str, bool, int, int, int, int]]
    #: a module's full name -> names of modules
    Order = dict[str, list[str]]
else:
    ModuleType = type(sys)  # the module ``types`` does not do it otherwise

_SIZE = 8
#: what marshal and the index may raise for octets that are none
_DAMAGED = (EOFError, ValueError, TypeError, LookupError)


def path_of(package: str) -> str:
    """Where the file of *package*, the directory of minimta, lies for this Python."""
    return os.path.join(package, "__pycache__", f"startup.{sys.implementation.cache_tag}")


def encode(index: "Index", order: "Order", code: bytes) -> bytes:
    """The octets of the file."""
    head = marshal.dumps((index, order))
    return MAGIC_NUMBER + len(head).to_bytes(_SIZE, "little") + head + code


class StartupCode:
    """Finds and loads the modules of one file; one of ``sys.meta_path``."""

    def __init__(self, octets: bytes, package: str) -> None:
        """*octets* are those of the file of *package*, a directory.

        Raise ValueError, or another of _DAMAGED, if they are not, or of a copy of it elsewhere.
        """
        begin = len(MAGIC_NUMBER) + _SIZE
        end = begin + int.from_bytes(octets[begin - _SIZE : begin], "little")
        if octets[: len(MAGIC_NUMBER)] != MAGIC_NUMBER:
            raise ValueError("of another Python")
        #: what it has
        self.index: Index
        self.index, self._order = marshal.loads(octets[begin:end])
        if self.index["minimta"][0] != os.path.join(package, "__init__.py"):
            raise ValueError("of a copy elsewhere")
        self._code = memoryview(octets)[end:]

    def code(self, name: str) -> "CodeType | None":
        """Of module *name*; None if it is not here, its source is another by now, or it is damaged."""
        try:
            source, _, mtime, size, begin, end = self.index[name]
            found = os.stat(source)
            if (found.st_mtime_ns, found.st_size) != (mtime, size):
                return None
            code = marshal.loads(self._code[begin:end])
        except (OSError, *_DAMAGED):
            return None
        return code if hasattr(code, "co_code") else None

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How to load module *name*, None if somebody else has to; what it needs is loaded then."""
        for needed in self._order.get(name, ()):
            self._load(needed)
        code = self.code(name)
        if code is None:
            return None
        spec = self._spec(name)
        spec.loader_state = code
        return spec

    def _spec(self, name: str) -> ModuleSpec:
        source, is_package = self.index[name][:2]
        spec = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(source)]
        return spec

    def _load(self, name: str) -> None:
        """What ``import`` would do, for a module that finds there all that it imports itself."""
        parent, _, child = name.rpartition(".")
        # If its package has another source by now, ``import`` comes to both.
        if name in sys.modules or (parent and parent not in sys.modules):
            return
        code = self.code(name)
        if code is None:
            return
        spec = self._spec(name)
        module = sys.modules[name] = ModuleType(name)
        known = vars(module)
        known["__spec__"], known["__loader__"] = spec, self
        known["__file__"], known["__package__"] = spec.origin, spec.parent
        if spec.submodule_search_locations is not None:
            known["__path__"] = spec.submodule_search_locations
        try:
            exec(code, known)
        except BaseException:
            del sys.modules[name]
            raise
        if parent:
            setattr(sys.modules[parent], child, module)

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual one."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the code that find_spec() has found."""
        spec = module.__spec__
        assert spec is not None
        code, spec.loader_state = spec.loader_state, None
        exec(code, vars(module))


def read(package: str, owner: int = 0) -> StartupCode | None:
    """The file of *package* if there is one that only *owner*, root, can have written; or None."""
    try:
        file = os.open(path_of(package), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner or others_write:
            return None
        return StartupCode(os.read(file, found.st_size), package)
    except (OSError, *_DAMAGED):
        return None
    finally:
        os.close(file)


def use(package: str, owner: int = 0) -> None:
    """From now on modules come from the file of *package*, as far as it has them: see read()."""
    if (found := read(package, owner)) is not None:
        sys.meta_path.insert(0, found)


def forget() -> None:
    """Give back the memory of it: for processes that stay, and have what they need."""
    sys.meta_path[:] = [found for found in sys.meta_path if not isinstance(found, StartupCode)]
