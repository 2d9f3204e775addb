import sys
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.configuration import apply_override, build, read_config, resolved_text


class Heat(Protocol):
    @property
    def kind(self) -> str: ...

    def watts(self) -> float: ...


HEATS = {"oven": f"{__name__}:Oven", "pan": f"{__name__}:Pan", "wok": f"{__name__}:Pan"}


@dataclass(frozen=True, kw_only=True)
class Oven:
    kind: Literal["oven"] = "oven"
    degrees: float = 180.0
    shelves: int | None = None
    rotation_seed: int = 0

    def watts(self) -> float:
        return 10 * self.degrees


@dataclass(frozen=True, kw_only=True)
class Pan:
    kind: Literal["pan", "wok"]
    with_lid: bool = False

    def __post_init__(self) -> None:
        if self.kind == "wok" and self.with_lid:
            raise ValueError("a wok has no lid")

    def watts(self) -> float:
        return 1500.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    title: str
    heat: Annotated[Heat, "kind", f"{__name__}:HEATS"] = field(default_factory=Oven)
    level: Literal["easy", "hard"] = "easy"
    minutes: tuple[int, ...] = ()
    parts: Mapping[str, Oven] = field(default_factory=dict)
    note: str | None = None
    seeds: tuple[int, ...] = ()


def recipe(content: object) -> Recipe:
    return build(Recipe, content, source="r.yaml")


def refusal(content: object) -> str:
    with pytest.raises(UserError) as caught:
        recipe(content)
    return str(caught.value)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "r.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_defaults_stand_where_the_file_says_nothing() -> None:
    assert recipe({"title": "Bread"}) == Recipe(title="Bread")


def test_a_seed_may_be_as_large_as_torch_can_take() -> None:
    assert recipe({"title": "Bread", "seeds": [2**63 - 1]}).seeds == (2**63 - 1,)


def test_every_kind_of_field_is_read() -> None:
    content = {
        "title": "Bread",
        "heat": {"kind": "wok", "with_lid": False},
        "level": "hard",
        "minutes": [10, 40],
        "parts": {"crust": {"degrees": 250, "shelves": 2}, 7: {"degrees": "1e-2"}},
        "note": None,
    }
    assert recipe(content) == Recipe(
        title="Bread",
        heat=Pan(kind="wok"),
        level="hard",
        minutes=(10, 40),
        parts={"crust": Oven(degrees=250.0, shelves=2), "7": Oven(degrees=0.01)},
    )


def test_a_whole_number_becomes_a_float_where_one_is_wanted() -> None:
    heat = recipe({"title": "Bread", "heat": {"kind": "oven", "degrees": 200}}).heat
    assert isinstance(heat, Oven)
    assert type(heat.degrees) is float


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "r.yaml: title: is missing"),
        ([], "r.yaml: the top level: should be a mapping of title, heat, level, minutes, parts, note, seeds, not []"),
        ({"title": "x", "levle": "easy"}, "r.yaml: levle: is no such key; the nearest is 'level'"),
        ({"title": 7}, "r.yaml: title: should be text, not a whole number (7)"),
        ({"title": None}, "r.yaml: title: should be text, not nothing (None)"),
        ({"title": "x", "level": "hrad"}, "r.yaml: level: 'hrad' is none of easy, hard; the nearest is 'hard'"),
        ({"title": "x", "level": ["hard"]}, "r.yaml: level: ['hard'] is none of easy, hard; the nearest is 'hard'"),
        ({"title": "x", "minutes": 5}, "r.yaml: minutes: should be a list, not a whole number (5)"),
        ({"title": "x", "minutes": [5, "x"]}, "r.yaml: minutes.1: should be a whole number, not text ('x')"),
        ({"title": "x", "minutes": [2.5]}, "r.yaml: minutes.0: should be a whole number, not a number (2.5)"),
        ({"title": "x", "minutes": [True]}, "r.yaml: minutes.0: should be a whole number, not true or false (True)"),
        ({"title": "x", "minutes": [-1]}, "r.yaml: minutes.0: should be a whole number, 0 or more, not -1"),
        (
            {"title": "x", "seeds": [2**63]},
            "r.yaml: seeds.0: should be a whole number below 2^63, not 9223372036854775",
        ),
        (
            {"title": "x", "heat": {"kind": "oven", "rotation_seed": 2**64}},
            "heat.rotation_seed: should be a whole number ",
        ),
        ({"title": "x", "minutes": [2**40]}, "minutes.0: should be a whole number below 2^40, not 1099511627776"),
        (
            {"title": "x", "parts": {"crust": {"degrees": 1e300}}},
            "crust.degrees: should be a number below 2^40, not 1e+",
        ),
        ({"title": "x", "parts": []}, "r.yaml: parts: should be a mapping, not a list ([])"),
        ({"title": "x", "parts": {"crust": 3}}, "r.yaml: parts.crust: should be a mapping of kind, degrees, shelves, "),
        ({"title": "x", "parts": {"crust": {"degrees": "hot"}}}, "parts.crust.degrees: should be a number, not text"),
        ({"title": "x", "parts": {"crust": {"degrees": True}}}, "should be a number, not true or false (True)"),
        ({"title": "x", "parts": {"crust": {"degrees": "nan"}}}, "should be a number, 0 or more, not nan"),
        ({"title": "x", "parts": {"crust": {"degrees": float("inf")}}}, "should be a number, 0 or more, not inf"),
        ({"title": "x", "parts": {"crust": {"degrees": 10**400}}}, "should be a number, not a whole number"),
        ({"title": "x", "heat": "oven"}, "r.yaml: heat: should be a mapping with `kind:`, not text ('oven')"),
        ({"title": "x", "heat": {}}, "r.yaml: heat.kind: is missing; it is one of oven, pan, wok"),
        ({"title": "x", "heat": {"kind": "wak"}}, "r.yaml: heat.kind: 'wak' is none of oven, pan, wok; the nearest"),
        ({"title": "x", "heat": {"kind": ["pan"]}}, "r.yaml: heat.kind: ['pan'] is none of oven, pan, wok"),
        ({"title": "x", "heat": {"kind": "pan", "degrees": 3}}, "r.yaml: heat.degrees: is no such key; the nearest"),
        ({"title": "x", "heat": {"kind": "pan", "with_lid": "yes"}}, "with_lid: should be true or false, not text"),
        ({"title": "x", "heat": {"kind": "wok", "with_lid": True}}, "r.yaml: heat: a wok has no lid"),
    ],
)
def test_a_mistake_names_file_and_key_and_what_would_be_right(content: object, message: str) -> None:
    assert message in refusal(content)
    assert "\n" not in refusal(content)


def test_the_nearest_key_is_named_however_far_it_is() -> None:
    assert "the nearest is" in refusal({"title": "x", "zzzzzzzz": 1})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["title", "heat", "level", "minutes", "parts", "note"]), json_like))
def test_whatever_a_file_holds_it_is_a_recipe_or_one_line(content: dict[str, Any]) -> None:
    try:
        read = recipe(content)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(read, Recipe)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "should hold `key: value` lines, but holds nothing"),
        ("[1, 2]", "should hold `key: value` lines, but holds a list"),
        ("a: 1\nb: [2\n", "r.yaml, line 3: is no valid YAML"),
        ("a: 1\n\tb: 2\n", "r.yaml, line 2: is no valid YAML"),
        ("a: !!python/name:os.system x\n", "r.yaml, line 1: is no valid YAML"),
        ("a: 2024-13-45\n", "r.yaml: is no valid YAML (month must be in 1..12)"),
        ("a: \x07\n", "r.yaml: is no valid YAML"),
        (b"a: caf\xe9\n", "r.yaml: is not UTF-8 text"),
        ("[" * 3000, "r.yaml: is no valid YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_config(write(tmp_path, content))
    assert message in str(caught.value)


def test_a_missing_config_names_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^nope\.yaml: .*the shipped ones are configs/quickstart\.yaml$"):
        read_config(Path("nope.yaml"))
    with pytest.raises(UserError, match=r"^configs: cannot be read \(Is a directory\)"):
        read_config(Path("configs"))


@pytest.mark.parametrize(
    ("dotted", "text", "after"),
    [
        ("a.b", "2", {"a": {"b": 2, "c": [1, {"d": 3}]}}),
        ("a.c.0", "[7, 8]", {"a": {"b": 1, "c": [[7, 8], {"d": 3}]}}),
        ("a.c.1.d", "1e-2", {"a": {"b": 1, "c": [1, {"d": "1e-2"}]}}),
        ("a.c.1.new.deep", "{x: null}", {"a": {"b": 1, "c": [1, {"d": 3, "new": {"deep": {"x": None}}}]}}),
        ("z.y", "true", {"a": {"b": 1, "c": [1, {"d": 3}]}, "z": {"y": True}}),
        ("a.b", "[unclosed", {"a": {"b": "[unclosed", "c": [1, {"d": 3}]}}),
        ("a.b", "2024-13-45", {"a": {"b": "2024-13-45", "c": [1, {"d": 3}]}}),
    ],
)
def test_an_override_sets_one_place(dotted: str, text: str, after: dict[str, Any]) -> None:
    config: dict[str, Any] = {"a": {"b": 1, "c": [1, {"d": 3}]}}
    apply_override(config, dotted, text)
    assert config == after


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("a.b.x", "--a.b.x: a.b is a whole number and has no fields"),
        ("a.c.0.x", "--a.c.0.x: a.c.0 is a whole number and has no fields"),
        ("a.c.2", "--a.c.2: a.c is a list of 2 and has no element '2'"),
        ("a.c.x", "--a.c.x: a.c is a list of 2 and has no element 'x'"),
        ("a.c.-1.d", "--a.c.-1.d: a.c is a list of 2 and has no element '-1'"),
        ("a.c.5.d", "--a.c.5.d: a.c is a list of 2 and has no element '5'"),
        ("a.c.²", "--a.c.²: a.c is a list of 2 and has no element '²'"),
    ],
)
def test_an_override_of_no_place_is_refused(dotted: str, message: str) -> None:
    config: dict[str, Any] = {"a": {"b": 1, "c": [1, {"d": 3}]}}
    with pytest.raises(UserError) as caught:
        apply_override(config, dotted, "1")
    assert str(caught.value) == message
    assert config == {"a": {"b": 1, "c": [1, {"d": 3}]}}


def test_a_key_that_comes_twice_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("title: x\nheat:\n  kind: pan\n  kind: oven\n")
    with pytest.raises(UserError, match=r"r\.yaml, line 4: is no valid YAML \('kind' comes twice\)"):
        read_config(path)
    decomposed = unicodedata.normalize("NFD", "é")
    for twice in ('1: a\n"1": b\n', "1: a\n0x1: b\n", "yes: a\non: b\n", f"é: a\n{decomposed}: b\n", "'b': a\nb: c\n"):
        path.write_text(f"title: x\n{twice}", encoding="utf-8")
        with pytest.raises(UserError, match=r"r\.yaml, line 3: is no valid YAML \('.*' comes twice\)"):
            read_config(path)
    path.write_text("base: &b {kind: pan}\nheat: {<<: *b, kind: oven}\n")  # a merge is meant
    assert read_config(path)["heat"] == {"kind": "oven"}


def test_keys_are_the_names_that_the_file_spells(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("studies: {1990: {no: 1}, 01: {}, 2020-13-01: {}, é\u200b: {}}\n", encoding="utf-8")
    config = read_config(path)
    assert config == {"studies": {"1990": {"no": 1}, "01": {}, "2020-13-01": {}, "é": {}}}
    apply_override(config, "studies.1990.no", "2")
    apply_override(config, "studies.e\u0301.no", "3")
    assert config["studies"]["1990"] == {"no": 2} and config["studies"]["é"] == {"no": 3}


# ---- classes of the user's -------------------------------------------------------------------------------------------

OUTSIDE = """
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Grill:
    kind: str
    rods: int = 4
    def watts(self): return 100.0 * self.rods

@dataclass
class Thawed:
    kind: str
    def watts(self): return 0.0

@dataclass(frozen=True)
class Cold:
    kind: str

@dataclass(frozen=True)
class Nameless:
    def watts(self): return 0.0

class Plain: ...
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "grills.py").write_text(OUTSIDE)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("grills", None)


def of_class(name: str, **fields: Any) -> Recipe:
    content = {"title": "Ribs", "heat": {"kind": name, **fields}}
    return build(Recipe, content, source="r.yaml", may_name_classes=True)


@pytest.mark.usefixtures("outside")
def test_a_config_names_a_class_of_the_users_and_is_read_back_from_what_it_resolved_to() -> None:
    found = of_class("grills:Grill", rods=6)
    assert found.heat.watts() == 600.0 and found.heat.kind == "grills:Grill"
    again = yaml.safe_load(resolved_text(found, "ribs"))
    assert build(Recipe, again, source="config.yaml", may_name_classes=True) == found


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("grills:Nothing", "cannot import grills:Nothing (AttributeError: module 'grills' has no attribute 'Nothing')"),
        ("nowhere:Grill", "cannot import nowhere:Grill (ModuleNotFoundError: No module named 'nowhere'); install"),
        ("broken:Grill", "cannot import broken:Grill (ZeroDivisionError: division by zero)"),
        ("grills:Plain", "should be a frozen dataclass"),
        ("grills:Thawed", "should be a frozen dataclass: its fields name the result"),
        ("grills:Nameless", "should have a field `kind: str`, which keeps this name"),
        ("grills:Cold", "lacks watts"),
    ],
)
def test_a_class_that_cannot_stand_there_is_named_with_what_it_lacks(name: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        of_class(name)
    assert str(caught.value).startswith("r.yaml: heat.kind: ") and told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("outside")
def test_what_was_saved_names_no_class_of_others() -> None:
    assert "heat.kind: 'grills:Grill' is no kind of retromem's" in refusal(
        {"title": "Ribs", "heat": {"kind": "grills:Grill"}}
    )
    assert "grills" not in sys.modules, "it was imported all the same"
