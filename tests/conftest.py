"""What holds for every test, set before torch, FAISS or the hub's client are imported."""

import ast
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from importlib.machinery import SourceFileLoader

from hypothesis import settings  # after them: it may import numpy
from jaxtyping import _import_hook

# Processes that tests start would compile all of ours anew, each for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def _has_shapes(annotations: list[ast.expr | None]) -> bool:
    """Whether one of them is, or holds, something like `Float32[ndarray, "N D"]`."""
    trees = [
        ast.parse(one.value, mode="eval") if isinstance(one, ast.Constant) and isinstance(one.value, str) else one
        for one in annotations
        if one is not None
    ]
    parts = (part for tree in trees for part in ast.walk(tree))
    return any(
        isinstance(part, ast.Subscript)
        and isinstance(part.slice, ast.Tuple)
        and isinstance(part.slice.elts[-1], ast.Constant)
        and isinstance(part.slice.elts[-1].value, str)
        for part in parts
    )


class _ShapeTransformer(_import_hook.JaxtypingTransformer):
    """Checks functions and fields that annotate shapes; the types of all others are read by mypy, at no cost here."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        given = node.args
        taken = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        if _has_shapes([node.returns, *(argument.annotation for argument in taken)]):
            return super().visit_FunctionDef(node)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        if _has_shapes([part.annotation for part in node.body if isinstance(part, ast.AnnAssign)]):
            return super().visit_ClassDef(node)
        self.generic_visit(node)
        return node


_import_hook.JaxtypingTransformer = _ShapeTransformer  # type: ignore[misc]


class _CheckedLoader(_import_hook._JaxtypingLoader):
    """Checks shapes as jaxtyping's own loader does, and leaves alone what the checked module imports.

    That one looks for all of it (torch, lightning: thousands of files) among bytecode of its own, finds none and
    compiles it anew: a third of a minute in each worker.
    """

    def get_code(self, fullname: str) -> object:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    exec_module = SourceFileLoader.exec_module


_import_hook._JaxtypingLoader = _CheckedLoader  # type: ignore[misc]

# A deadline would be an assertion on time, on machines that are busy.
settings.register_profile("retromem", deadline=None, max_examples=60)
settings.load_profile("retromem")
