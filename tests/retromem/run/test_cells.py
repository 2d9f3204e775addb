import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import KnowledgeConfig, TextConfig, build_knowledge
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.paired_memory import PairedMemoryConfig
from retromem.run.cells import Cell, plan, readable_hash
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig

KEYS = KeysConfig(num_facts=300, num_values=8, dim=6)


def experiment(*arms: ArmsConfig, knowledge: KnowledgeConfig = KEYS, **options: object) -> ExperimentConfig:
    studies = {"keys": StudyConfig(knowledge=knowledge, arms=arms)}
    return ExperimentConfig(title="t", question="q", studies=studies, **options)


def cells_of(*arms: ArmsConfig, **options: object) -> list[Cell]:
    return plan(experiment(*arms, **options), encoder_hash="an-encoder", text_dim=384)


def sizes(cells: list[Cell]) -> list[int]:
    return [cell.num_facts for cell in cells]


@pytest.fixture
def people(tmp_path: Path) -> TextConfig:
    facts = [{"subject": f"Person {row}", "relation": "trade", "value": f"kind {row % 5}"} for row in range(100)]
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    return TextConfig(source="file", file=str(path))


# ---- identity ------------------------------------------------------------------------------------------------------


def test_every_setting_that_changes_the_result_changes_the_folder(people: TextConfig) -> None:
    block = ArmsConfig(
        memories=(FFNMemoryConfig(ffn=DenseConfig(width=8)),), num_facts=(64,), seeds=(0,), twins=(False,)
    )
    shorter = TrainingBudget(steps=100)
    search = CapacitySearch(low=64, high=64)
    variants = {
        "as it is": block,
        "width": replace(block, memories=(FFNMemoryConfig(ffn=DenseConfig(width=9)),)),
        "kind": replace(block, memories=(FFNMemoryConfig(ffn=DenseConfig(kind="relu", width=8)),)),
        "steps": replace(block, memories=(FFNMemoryConfig(ffn=DenseConfig(width=8), training=shorter),)),
        "precision": replace(block, memories=(FFNMemoryConfig(ffn=DenseConfig(width=8), precision="int8"),)),
        "another memory": replace(block, memories=(FrequencyConfig(),)),
        "size": replace(block, num_facts=(65,)),
        "seed": replace(block, seeds=(1,)),
        "twin": replace(block, twins=(True,)),
        "keys": replace(block, keys="raw"),
        "role": replace(block, role="control"),
        "halves": replace(block, halves=True),
        "shuffled": replace(block, shuffled=True),
        "capacity": replace(block, capacity=search),
        "resolution": replace(block, capacity=replace(search, resolution=0.3)),
    }
    names = {what: cells_of(arms, knowledge=people)[0].folder_name for what, arms in variants.items()}
    measures = {
        "asked": MeasureConfig(max_asked=10),
        "reworded": MeasureConfig(max_reworded=10),
        "robustness": MeasureConfig(robustness=False),
        "disturbed": MeasureConfig(max_disturbed=10),
    }
    names |= {
        what: cells_of(block, knowledge=people, measures=other)[0].folder_name for what, other in measures.items()
    }
    texts = {"W": {"num_written": 2}, "pool": {"pool": 2}, "calibration": {"max_calibration": 9}, "order": {"seed": 1}}
    names |= {what: cells_of(block, knowledge=replace(people, **other))[0].folder_name for what, other in texts.items()}
    names["encoder"] = plan(experiment(block, knowledge=people), encoder_hash="another", text_dim=384)[0].folder_name
    names["set"] = cells_of(block)[0].folder_name
    assert len(set(names.values())) == len(names), names


def test_where_a_cell_computes_and_how_its_facts_are_called_is_no_part_of_it(
    people: TextConfig, tmp_path: Path
) -> None:
    block = ArmsConfig(memories=(FrequencyConfig(),), num_facts=(64,), seeds=(0,))
    (cell,) = cells_of(block, knowledge=people)
    elsewhere = tmp_path / "elsewhere" / "people.jsonl"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(Path(people.file or "").read_bytes())
    (same,) = cells_of(block, knowledge=replace(people, file=str(elsewhere)), seconds_expected=1.0, max_weight_facts=7)
    assert same.folder_name == cell.folder_name
    written = json.dumps(cell.identity())
    assert "device" not in written
    assert str(tmp_path) not in written
    assert json.loads(written) == cell.identity() == json.loads(json.dumps(same.identity()))


def test_a_folder_is_readable_and_one_name_on_every_file_system() -> None:
    block = ArmsConfig(memories=(FaissMemoryConfig(factory="IVF4,Flat"),), num_facts=(64,), seeds=(3,))
    (cell,) = cells_of(block)
    assert cell.folder_name.startswith("keys-faiss-q-IVF4_Flat-n64-s3-")
    long = plan(
        ExperimentConfig(
            title="t",
            question="q",
            studies={"a/study " * 30: StudyConfig(knowledge=KEYS, arms=(block,))},
        ),
        encoder_hash="",
        text_dim=384,
    )
    assert len(long[0].folder_name) < 120
    assert "/" not in long[0].folder_name


def test_names_say_what_is_special() -> None:
    block = ArmsConfig(memories=(FrequencyConfig(),), num_facts=(64,), seeds=(0,), keys="raw", shuffled=True)
    assert cells_of(block)[0].name == "floor-mode-raw-shuffled"


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_every_combination_is_one_cell_and_repeated_ones_are_run_once(people: TextConfig) -> None:
    block = ArmsConfig(
        memories=(FrequencyConfig(), FaissMemoryConfig()), num_facts=(10, 20), seeds=(0, 1, 2), twins=(False, True)
    )
    cells = cells_of(block, block, knowledge=people)
    assert len(cells) == 2 * 2 * 3 * 2
    assert len({cell.folder_name for cell in cells}) == len(cells)
    assert {cell.encoder_hash for cell in cells} == {"an-encoder"}
    assert {cell.knowledge_hash for cell in cells} == {build_knowledge(people).content_hash}


def test_two_memories_of_one_name_are_refused_where_they_would_be_merged() -> None:
    """Rows are told apart by study, role and name: the settings behind one name must be the same."""

    def block(factory: str, role: str = "arm", name: str = "mine") -> ArmsConfig:
        memory = FaissMemoryConfig(factory=factory, called=name)
        return ArmsConfig(memories=(memory,), num_facts=(10,), seeds=(0,), role=role)  # type: ignore[arg-type]

    for fine in (block("LSH", "control"), block("LSH", name="another"), block("Flat")):
        assert {cell.role for cell in cells_of(block("Flat"), fine)} == {"arm", fine.role}
    with pytest.raises(UserError, match=r"studies\.keys: two memories are called mine, but differ in their settings"):
        cells_of(block("Flat"), block("LSH"))
    knowledge = StudyConfig(knowledge=KEYS, arms=(block("LSH"),))
    apart = experiment(block("Flat"))
    apart = replace(apart, studies={**apart.studies, "others": knowledge})
    assert len(plan(apart, encoder_hash="", text_dim=384)) == 2


def test_keys_have_no_twin_and_no_encoder() -> None:
    cells = cells_of(ArmsConfig(memories=(FrequencyConfig(),), num_facts=(10,), seeds=(0, 1), twins=(False, True)))
    assert [(cell.twin, cell.seed, cell.encoder_hash) for cell in cells] == [(False, 0, ""), (False, 1, "")]


def test_sizes_that_nobody_chose_halve_from_the_largest_for_weights_and_reach_the_whole_set_for_others() -> None:
    trained = ArmsConfig(memories=(FFNMemoryConfig(),), seeds=(0,))
    stored = ArmsConfig(memories=(FaissMemoryConfig(),), seeds=(0,))
    assert sizes(cells_of(trained, max_weight_facts=64)) == [8, 16, 32, 64]
    assert sizes(cells_of(stored, max_weight_facts=64)) == [8, 16, 32, 64, 128, 300]
    assert sizes(cells_of(trained, max_weight_facts=4000)) == [37, 75, 150, 300]
    assert sizes(cells_of(stored, max_weight_facts=4000)) == [37, 75, 150, 300]
    tiny = replace(KEYS, num_facts=3)
    assert sizes(cells_of(trained, knowledge=tiny)) == sizes(cells_of(stored, knowledge=tiny)) == [1, 3]


def test_a_size_beyond_the_set_is_the_users_mistake_before_anything_runs() -> None:
    with pytest.raises(UserError, match="301 facts asked for, but the set holds 300"):
        cells_of(ArmsConfig(memories=(FrequencyConfig(),), num_facts=(10, 301)))


def test_a_search_is_one_cell_a_seed_up_to_what_the_set_holds() -> None:
    block = ArmsConfig(memories=(FrequencyConfig(),), num_facts=(10, 20), capacity=CapacitySearch(), seeds=(0, 1))
    cells = cells_of(block)
    assert sizes(cells) == [300, 300]
    assert all("-capacity-" in cell.folder_name for cell in cells)
    assert sizes(cells_of(replace(block, capacity=CapacitySearch(high=100)))) == [100, 100]


@pytest.mark.parametrize("ffn", [DenseConfig(kind="relu"), GatedConfig()])
@pytest.mark.parametrize("code_dim", [None, 5])
def test_widths_from_demand_store_it_at_the_bits_a_parameter_asked_for(
    ffn: DenseConfig | GatedConfig, code_dim: int | None
) -> None:
    block = ArmsConfig(
        memories=(FFNMemoryConfig(ffn=ffn, code_dim=code_dim),),
        num_facts=(200, 50),  # the largest counts, wherever it stands
        seeds=(0,),
        widths_from_demand=(0.5, 2.0),
    )
    cells = cells_of(block)
    assert len(cells) == 2 * 2
    demand_bits = 200 * 3
    for bits_per_param, width in zip(
        (0.5, 2.0), sorted({c.memory.ffn.width for c in cells}, reverse=True), strict=True
    ):
        fitting = replace(ffn, width=width).num_params(KEYS.dim, code_dim or KEYS.dim)
        assert demand_bits / bits_per_param == pytest.approx(fitting, rel=0.25)
        smaller = replace(ffn, width=width - 1).num_params(KEYS.dim, code_dim or KEYS.dim)
        assert smaller < demand_bits / bits_per_param <= fitting


@pytest.mark.parametrize("dial", ["num_params", "num_active_params"])
def test_every_ffn_is_made_as_large_as_its_parameters_allow(dial: str) -> None:
    kinds = (LinearConfig(), DenseConfig(kind="relu"), GatedConfig(), TopKConfig())
    memories = tuple(FFNMemoryConfig(ffn=kind, code_dim=5) for kind in kinds)
    block = ArmsConfig(memories=memories, num_facts=(50,), seeds=(0,), **{dial: (400, 900)})
    cells = cells_of(block)
    assert len(cells) == 1 + 2 * 3  # there is one linear map alone
    for cell in cells[1:]:
        ffn, dims = cell.memory.ffn, (KEYS.dim, 5)
        assert getattr(ffn, dial)(*dims) <= 900 < getattr(ffn.resized(3 * ffn.size), dial)(*dims)
    assert cells[0].memory.ffn == LinearConfig()


def test_parameters_that_are_too_few_are_refused_with_the_fewest() -> None:
    memories = (FFNMemoryConfig(ffn=DenseConfig(kind="relu", width=1), code_dim=2), FFNMemoryConfig(ffn=GatedConfig()))
    block = ArmsConfig(memories=memories, seeds=(0,), num_params=(15,))
    with pytest.raises(UserError) as refusal:
        cells_of(block)
    fewest = 3 * KEYS.dim
    assert str(refusal.value) == (
        f"studies.keys.arms.0.memories.1.ffn: swiglu has {fewest} parameters at least, more than 15"
    )
    with pytest.raises(ValueError, match="give one of"):
        replace(block, num_active_params=(5,))


def test_widths_for_texts_are_of_the_encoders_dimension(people: TextConfig) -> None:
    block = ArmsConfig(memories=(FFNMemoryConfig(code_dim=64),), num_facts=(90,), widths_from_demand=(0.01,))
    (memory,) = {cell.memory for cell in cells_of(block, knowledge=people)}
    wanted = build_knowledge(people).prefix(90).demand_bits() / 0.01
    assert memory.ffn.num_params(384, 64) == pytest.approx(wanted, rel=0.05)
    (smallest,) = {
        cell.memory.ffn.width for cell in cells_of(replace(block, widths_from_demand=(1000.0,)), knowledge=people)
    }
    assert smallest == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"halves": True, "num_facts": (8, 1)}, "halves need two facts or more"),
        ({"halves": True, "capacity": CapacitySearch()}, "do not go together"),
        ({"memories": (PairedMemoryConfig(),)}, "add `halves: true`"),
        ({"seeds": (1, 1)}, "seeds must name each once"),
        ({"twins": ()}, "twins must name one or more"),
        ({"memories": (FFNMemoryConfig(),), "num_params": (90,), "widths_from_demand": (1.0,)}, "give one of"),
    ],
)
def test_blocks_that_cannot_be_run_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ArmsConfig(memories=(FaissMemoryConfig(),)), **fields)
    ArmsConfig(memories=(PairedMemoryConfig(),), num_facts=(2,), halves=True)  # one to be taught, one to be asked


def test_long_cells_weigh_more() -> None:
    budget = TrainingBudget(steps=1000)
    trained = ArmsConfig(memories=(FFNMemoryConfig(training=budget),), num_facts=(10,), seeds=(0,))
    untrained = replace(trained, memories=(FFNMemoryConfig(training=replace(budget, steps=0)), FrequencyConfig()))
    search = replace(trained, capacity=CapacitySearch())
    weights = [cell.weight for arms in (untrained, trained, search) for cell in cells_of(arms)]
    assert weights[0] == weights[1]
    assert weights[3] > weights[2]


def test_ffns_are_sized_for_the_dimensions_of_the_encoder() -> None:
    block = ArmsConfig(
        memories=(FFNMemoryConfig(ffn=DenseConfig()),), num_params=(50_000,), num_facts=(64,), seeds=(0,)
    )
    texts = experiment(block, knowledge=TextConfig(source="cities"))
    for dim in (48, 384):
        (cell,) = plan(texts, encoder_hash="an-encoder", text_dim=dim)
        assert 50_000 - 2 * dim < cell.memory.ffn.num_params(dim, dim) <= 50_000


def test_a_folder_is_named_in_letters_that_every_locale_can_write() -> None:
    names = [readable_hash(f"{study}-faiss/a,b", {"study": study}) for study in ("Städte", "都市")]
    assert [name[:-9] for name in names] == ["St_dte-faiss_a_b", "__-faiss_a_b"]
    assert readable_hash("quick start", {}).startswith("quick start-")
