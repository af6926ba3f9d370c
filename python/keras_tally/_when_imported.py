"""Something to do as soon as a module is imported, by whomever."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(name: str, action: Callable[[], object]) -> Callable[[], None] | None:
    """Call `action` when the module has been imported: now, if it has been already.

    Returns:
        What ends waiting for it; None if nobody waits.
    """
    if sys.modules.get(name) is not None:
        action()
        return None
    finder = _Finder(name, action)
    sys.meta_path.insert(0, finder)
    return finder.remove


class _Finder(MetaPathFinder):
    """Finds the module as the other finders do, and acts once it has been executed."""

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        self._name, self._action = name, action

    def remove(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    self._watch(spec)
                    return spec
        return None

    def _watch(self, spec: ModuleSpec) -> None:
        # The loader itself is left in place: others ask it for sources and data.
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._action()

        loader.exec_module = execute_and_act


def import_before(
    name: str, needs_it: Callable[[str], bool], check: Callable[[ModuleType], None]
) -> None:
    """Import a module, and check it, before any other of which `needs_it` is executed.

    What importing it does (see `when_imported`) may import that other one already.
    """
    sys.meta_path.insert(0, _Before(name, needs_it, check))


class _Before(MetaPathFinder):
    _is_done = False

    def __init__(
        self,
        name: str,
        needs_it: Callable[[str], bool],
        check: Callable[[ModuleType], None],
    ) -> None:
        self._name, self._needs_it, self._check = name, needs_it, check

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        del path, target
        if self._is_done or not self._needs_it(fullname):
            return None
        self._check(importlib.import_module(self._name))
        self._is_done = True
        module = sys.modules.get(fullname)
        return None if module is None else ModuleSpec(fullname, _Imported(module))


class _Imported(Loader):
    """Gives a module that has been imported while it was looked for."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
