"""Which classes, values and members of TensorRT a folder of Python files uses, found by walking their syntax.

The walk knows a type where the code names it (``network: "trt.INetworkDefinition"``), and follows it through
properties and calls by the signatures of the newest bindings, through loops, lists and the folder's own functions.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from scripts.tensorrt_contract.bindings import Bindings

UseKind = Literal["class", "value", "word", "read", "write", "call", "override"]

_NAMED = re.compile(r"\btrt\.(\w+)")
_MANY = re.compile(r"\b(?:Iterable|Iterator|Sequence|list|tuple)\[[^\]]*\btrt\.")
_MANY_RETURNED = re.compile(r"\b(?:Sequence|list|List)\[(\w+)\]")


@dataclass(frozen=True, order=True)
class Use:
    """One thing that the code asks of TensorRT: ``BuilderFlag.TF32``, or a call with its arguments.

    A ``word`` is an enum's value that the code names by its text alone: where a version does not have it, nothing
    matches. `guard` is the class that the code looks up with a default first: without it, this is not reached.
    """

    owner: str
    member: str
    kind: UseKind
    positional: int = 0
    keywords: tuple[str, ...] = ()
    guard: str = ""
    place: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """What is used: ``IBuilderConfig.set_flag()``."""
        text = self.owner if self.kind == "class" else f"{self.owner}.{self.member}"
        if self.kind == "call":
            keywords = [f"{keyword}=" for keyword in self.keywords]
            return f"{text}({', '.join([*('_' * self.positional), *keywords])})"
        return f"{text} =" if self.kind == "write" else text


@dataclass(frozen=True)
class Type:
    """What an expression is: the module, a class, an instance, its enum name, or many of something."""

    form: Literal["module", "class", "instance", "enum-name", "many"]
    name: str = ""


def collect_uses(folder: Path, bindings: Bindings) -> list[Use]:
    """Return every use in the Python files of a folder, each once."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
    functions = {
        node.name: returned
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (returned := _type_from_annotation(node.returns)) is not None
    }
    uses: set[Use] = set()
    for path, tree in trees.items():
        walker = _Walker(path.name, bindings, functions, tree)
        walker.visit(tree)
        walker.visit(tree)  # once more: a table of names may be passed to a function that stands above
        uses |= walker.uses
    unguarded = {replace(use, guard="") for use in uses if not use.guard}
    return sorted(use for use in uses if not use.guard or replace(use, guard="") not in unguarded)


def _type_from_annotation(annotation: ast.expr | None) -> Type | None:
    text = ast.unparse(annotation) if annotation is not None else ""
    match = _NAMED.search(text)
    if match is None:
        return None
    return Type("many" if _MANY.search(text) else "instance", match[1])


class _Walker(ast.NodeVisitor):
    """Visits one file; a visit of an expression returns its type, or None where it is not TensorRT's."""

    def __init__(self, file_name: str, bindings: Bindings, functions: dict[str, Type], tree: ast.Module) -> None:
        self.uses: set[Use] = set()
        self._file_name = file_name
        self._bindings = bindings
        self._functions = functions
        self._parameters = {
            node.name: [argument.arg for argument in node.args.args if argument.arg != "self"]
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
        }
        self._names: dict[str, Type] = {"trt": Type("module")}
        self._attributes: dict[str, Type] = {}
        self._words: dict[str, set[str]] = {}
        self._guard = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, outer_guard = dict(self._names), self._guard
        for argument in node.args.args:
            self._bind(argument.arg, _type_from_annotation(argument.annotation))
        for statement in node.body:
            self.visit(statement)
        self._names, self._guard = outer, outer_guard

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if (kind := self.visit(base)) is not None and kind.form == "class":
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name != "__init__":
                        positional = len(method.args.args)
                        self._note(Use(kind.name, method.name, "override", positional), method)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        kind = self.visit(node.value)
        for target in node.targets:
            self._assign(target, kind, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        kind = self.visit(node.value) if node.value is not None else None
        self._assign(node.target, _type_from_annotation(node.annotation) or kind, node.value)

    def visit_For(self, node: ast.For) -> None:
        self._bind_loop(node.target, node.iter)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit(self, node: ast.AST) -> Type | None:
        kind: Type | None = super().visit(node)
        return kind

    def visit_Name(self, node: ast.Name) -> Type | None:
        return self._names.get(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> Type | None:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._attributes.get(node.attr)
        base = self.visit(node.value)
        if base is None or base.form in {"many", "enum-name"}:
            return None
        if base.form == "module":
            if not node.attr.startswith("__"):
                self._note(Use(node.attr, "", "class"), node)
            return Type("class", node.attr)
        if base.form == "instance" and node.attr == "name" and self._is_enum(base.name):
            return Type("enum-name", base.name)
        if node.attr == "__class__":
            return None
        self._note(Use(base.name, node.attr, "value" if base.form == "class" else "read"), node)
        return base if base.form == "class" else self._returned(base.name, node.attr)

    def visit_Call(self, node: ast.Call) -> Type | None:
        arguments = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            self.visit(keyword.value)
        self._pass_words(node)
        if isinstance(node.func, ast.Name):
            return self._call_name(node, node.func.id, arguments)
        if isinstance(node.func, ast.Attribute):
            return self._call_attribute(node, node.func, arguments)
        self.visit(node.func)
        return None

    def visit_Compare(self, node: ast.Compare) -> None:
        left = self.visit(node.left)
        for other in node.comparators:
            self.visit(other)
            if left is not None and left.form == "enum-name":
                self._note_words(left.name, other)

    def visit_Subscript(self, node: ast.Subscript) -> Type | None:
        self.visit(node.slice)
        base = self.visit(node.value)
        if base is not None and base.form == "instance":
            self._note(Use(base.name, "__getitem__", "call", 1), node)
            return None
        return Type("instance", base.name) if base is not None and base.form == "many" else None

    def visit_ListComp(self, node: ast.ListComp) -> Type | None:
        return self._visit_comprehension(node.generators, node.elt)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> Type | None:
        return self._visit_comprehension(node.generators, node.elt)

    def visit_DictComp(self, node: ast.DictComp) -> Type | None:
        return self._visit_comprehension(node.generators, node.value, node.key)

    def visit_List(self, node: ast.List) -> Type | None:
        kinds = [kind for element in node.elts if (kind := self.visit(element)) is not None]
        return Type("many", kinds[0].name) if kinds and kinds[0].form == "instance" else None

    def visit_IfExp(self, node: ast.IfExp) -> Type | None:
        self.visit(node.test)
        return self.visit(node.body) or self.visit(node.orelse)

    def _visit_comprehension(self, generators: Iterable[ast.comprehension], *elements: ast.expr) -> Type | None:
        outer = dict(self._names)
        for generator in generators:
            self._bind_loop(generator.target, generator.iter)
            for test in generator.ifs:
                self.visit(test)
        kinds = [self.visit(element) for element in elements]
        self._names = outer
        return Type("many", kinds[0].name) if kinds[0] is not None and kinds[0].form == "instance" else None

    def _bind_loop(self, target: ast.expr, source: ast.expr) -> None:
        kind = self.visit(source)
        if isinstance(target, ast.Name) and kind is not None and kind.form == "many":
            self._names[target.id] = Type("instance", kind.name)

    def _bind(self, name: str, kind: Type | None) -> None:
        if kind is None:
            self._names.pop(name, None)
        else:
            self._names[name] = kind

    def _assign(self, target: ast.expr, kind: Type | None, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, kind)
            self._words[target.id] = self._words_of(value) if value is not None else set()
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(target, kind)
        else:
            self.visit(target)

    def _assign_attribute(self, target: ast.Attribute, kind: Type | None) -> None:
        if isinstance(target.value, ast.Name) and target.value.id == "self":
            if kind is not None:
                self._attributes[target.attr] = kind
            return
        base = self.visit(target.value)
        if target.attr == "__class__" and kind is not None and isinstance(target.value, ast.Name):
            self._names[target.value.id] = Type("instance", kind.name)
        elif base is not None and base.form == "instance":
            self._note(Use(base.name, target.attr, "write"), target)

    def _call_name(self, node: ast.Call, name: str, arguments: list[Type | None]) -> Type | None:
        first = arguments[0] if arguments else None
        if name == "getattr" and first is not None and first.form == "module":
            looked_up = str(node.args[1].value) if isinstance(node.args[1], ast.Constant) else ""
            self._guard = looked_up
            self._note(Use(looked_up, "", "class"), node)
            return Type("class", looked_up)
        if name == "cast":
            return _type_from_annotation(node.args[0])
        if name == "len" and first is not None and first.form == "instance":
            self._note(Use(first.name, "__len__", "call"), node)
        if name in {"str", "list", "sorted"}:
            return first
        return self._functions.get(name)

    def _call_attribute(self, node: ast.Call, function: ast.Attribute, arguments: list[Type | None]) -> Type | None:
        first = arguments[0] if arguments else None
        if first is not None and first.form == "enum-name":  # TABLE.get(kind.name)
            self._note_words(first.name, function.value)
            return None
        base = self.visit(function.value)
        if function.attr == "append" and isinstance(function.value, ast.Name) and first is not None:
            self._names[function.value.id] = Type("many", first.name)
            return None
        if base is None:
            return self._functions.get(function.attr)
        if base.form == "many":
            return Type("instance", base.name) if function.attr in {"get", "pop"} else None
        keywords = tuple(keyword.arg or "**" for keyword in node.keywords)
        if base.form == "module":
            self._note(Use(function.attr, "", "class"), node)
            self._note(Use(function.attr, "__init__", "call", len(node.args), keywords), node)
            return Type("instance", function.attr)
        positional = len(node.args) - (base.form == "class")  # Class.method(self, ...)
        self._note(Use(base.name, function.attr, "call", positional, keywords), node)
        return self._returned(base.name, function.attr)

    def _words_of(self, node: ast.expr) -> set[str]:
        """Return the upper-case words of a text, of a set of texts, or of a table's keys."""
        if isinstance(node, ast.Name):
            return self._words.get(node.id, set())
        if isinstance(node, ast.Dict):
            return {word for key in node.keys if key is not None for word in self._words_of(key)}
        if isinstance(node, ast.Constant):
            return {node.value} if isinstance(node.value, str) and node.value.isupper() else set()
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return {word for child in inner for word in self._words_of(child)}

    def _pass_words(self, node: ast.Call) -> None:
        """Let a function's parameters stand for the tables of words that they are called with."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for parameter, argument in zip(self._parameters.get(name, ()), node.args, strict=False):
            if isinstance(argument, ast.Name) and (words := self._words_of(argument)):
                self._words[parameter] = self._words.get(parameter, set()) | words

    def _note_words(self, enum: str, node: ast.expr) -> None:
        """Note the values of an enum that a text or a table of texts names."""
        for word in self._words_of(node):
            self._note(Use(enum, word, "word"), node)

    def _note(self, use: Use, node: ast.AST) -> None:
        guard = "" if use.owner == self._guard and use.kind == "class" else self._guard
        place = f"{self._file_name}:{getattr(node, 'lineno', 0)}"
        self.uses.add(Use(use.owner, use.member, use.kind, use.positional, use.keywords, guard, place))

    def _is_enum(self, name: str) -> bool:
        members = self._bindings.classes.get(name, {})
        return any(member["kind"] == "value" for member in members.values())

    def _returned(self, owner: str, member: str) -> Type | None:
        signatures = self._bindings.classes.get(owner, {}).get(member, {}).get("signatures", ())
        for signature in signatures:
            name = signature["returns"]
            if many := _MANY_RETURNED.search(name):
                return Type("many", many[1])
            if name in self._bindings.classes:
                return Type("instance", name)
        return None
