"""Programs of the course that belong to no package, imported for their tests."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def load_script(path: Path) -> ModuleType:
    """Import a program, under a name that holds its folder's too."""
    name = f"{path.parent.name.lstrip('.')}_{path.stem}"
    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
