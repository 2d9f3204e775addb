from retromem.run.row_settings import settings_that_differ


def test_what_differs_is_kept_by_dotted_path_and_what_rows_say_is_not() -> None:
    first = {"study": "a", "seed": 0, "memory": {"memory": "ffn", "training": {"steps": 3, "rate": 0.1}}, "twin": True}
    second = {"study": "b", "seed": 1, "memory": {"memory": "ffn", "training": {"steps": 5, "rate": 0.1}}, "twin": True}
    third = {"study": "b", "seed": 1, "memory": {"memory": "faiss", "factory": "Flat", "nprobe": None}, "twin": False}
    fourth = {"memory": {"memory": "faiss", "factory": "Flat", "nprobe": 4}}
    assert settings_that_differ([first, second, third]) == [
        {"memory.memory": "ffn", "memory.training.steps": "3"},
        {"memory.memory": "ffn", "memory.training.steps": "5"},
        {"memory.memory": "faiss"},
    ]
    assert settings_that_differ([first, first]) == [{}, {}] and settings_that_differ([]) == []
    assert settings_that_differ([third, fourth]) == [{"memory.nprobe": ""}, {"memory.nprobe": "4"}]
