"""Import the project's modules into a program that may have others of the same names: `config`, `model`, `utils`, ...

Each gets a name of its own below a package that belongs to the project's folder, `_ram_1b2c3d4e.config` for `config`,
and the import statements in its source are read as naming these, those inside functions too. So no module of the
program is ever replaced or hidden, and nothing has to be restored. This file imports nothing of the project.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import os
import sys
import types
import zlib


def load(folder: str, name: str) -> types.ModuleType:
    """Import a module of the project, apart from what the program has imported.

    Args:
        folder: where the project is.
        name: of the module in the project, e.g. "ram.use.hub".
    """
    folder = os.path.realpath(folder)
    prefix = f"_ram_{zlib.crc32(os.fsencode(folder)):08x}"
    if prefix not in sys.modules:
        package = types.ModuleType(prefix, f"The modules in {folder}.")
        package.__path__ = [folder]
        sys.meta_path.insert(0, Finder(prefix, folder))
        sys.modules[prefix] = package
    own = f"{prefix}.{name}"
    if own not in sys.modules:
        spec = importlib.util.find_spec(own)  # which imports the packages above it
        module = sys.modules[own] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[own]
            raise
    return sys.modules[own]


class Finder:
    """Find the modules below a prefix in the project's folder.

    Args:
        prefix: the package that stands for the project.
        folder: where the project is.
    """

    def __init__(self, prefix: str, folder: str):
        self.prefix = prefix
        entries = [os.path.splitext(entry.name) for entry in os.scandir(folder) if is_module(entry)]
        self.names = frozenset(name for name, _ in entries)  # of the project's modules and packages

    def find_spec(self, name: str, path=None, target=None):
        """Find a module below the prefix; return None for all others."""
        if not name.startswith(f"{self.prefix}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path, self)
        return spec


class Loader(importlib.machinery.SourceFileLoader):
    """Load a module whose import statements are read as `Finder` names the project's modules."""

    def __init__(self, name: str, path: str, finder: Finder):
        super().__init__(name, path)
        self.finder = finder

    def path_stats(self, path):
        """Raise OSError, so that no cache is used: it holds the source compiled without renaming."""
        raise OSError

    def source_to_code(self, data, path, **options):
        """Compile the source after its imports were renamed."""
        tree = Renaming(self.finder).visit(ast.parse(data, path))
        return super().source_to_code(ast.fix_missing_locations(tree), path, **options)


class Renaming(ast.NodeTransformer):
    """Put the prefix before the project's modules, in all import statements of a source."""

    def __init__(self, finder: Finder):
        self.finder = finder

    def is_own(self, name: str | None) -> bool:
        return bool(name) and name.split(".")[0] in self.finder.names

    def visit_ImportFrom(self, node):
        if not node.level and self.is_own(node.module):
            node.module = f"{self.finder.prefix}.{node.module}"
        return node

    def visit_Import(self, node):
        statements = []
        for alias in node.names:
            names = [(alias.name, alias.asname)]
            if self.is_own(alias.name):
                first = alias.name.split(".")[0]  # what `import a.b` binds, after it has imported both
                names = [(alias.name, alias.asname or first), *([] if alias.asname else [(first, first)])]
                names = [(f"{self.finder.prefix}.{name}", bound) for name, bound in names]
            statements += [ast.copy_location(ast.Import([ast.alias(*name)]), node) for name in names]
        return statements


def is_module(entry: os.DirEntry) -> bool:
    """Tell whether something in the project's folder can be imported by its name."""
    if entry.is_dir():
        return os.path.exists(os.path.join(entry.path, "__init__.py"))
    return entry.name.endswith(".py")
