"""Units of measure: how they are written, and how a number in one becomes a number in another.

``1500 g`` and ``1.5 kg`` are the same weight to a filter, a facet and a sort order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.lists import Array

_SCALES: dict[str, dict[str, float]] = {
    "length": {"mm": 0.001, "cm": 0.01, "m": 1, "km": 1000, "in": 0.0254, "ft": 0.3048, "yd": 0.9144},
    "mass": {"mg": 1e-6, "g": 0.001, "kg": 1, "t": 1000, "oz": 0.028349523125, "lb": 0.45359237},
    "volume": {"ml": 0.001, "cl": 0.01, "dl": 0.1, "l": 1, "fl oz": 0.0295735295625, "gal": 3.785411784},
    "area": {"m²": 1, "sq ft": 0.09290304},
    "energy": {"Wh": 1, "kWh": 1000},
    "power": {"W": 1, "kW": 1000},
    "charge": {"mAh": 0.001, "Ah": 1},
    "frequency": {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9, "rpm": 1 / 60},
    "storage": {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    "data rate": {"Mbit/s": 1, "Gbit/s": 1000},
    "pressure": {"bar": 1, "psi": 0.0689475729},
    "time": {"s": 1, "min": 60, "h": 3600, "days": 86_400, "months": 2_629_800, "years": 31_557_600},
    "resolution": {"dpi": 1, "ppi": 1},
    "temperature": {"K": 1, "°C": 1, "°F": 5 / 9},
}
"""Dimension -> unit -> how many of the dimension's base unit it is.  A month is a twelfth of 365.25 days."""
_ZERO = {"°C": 273.15, "°F": 273.15 - 32 * 5 / 9}
"""Kelvin at the zero of a temperature scale."""
_ALONE = ("V", "A", "MP", "px", "dB", "lm", "°", "%", "pcs", "den")
"""Units that are compared with themselves only."""
_SPELLED = {
    "in": '" inch inches',
    "ft": "feet foot",
    "g": "gram grams",
    "kg": "kilogram kilograms kilo kilos",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "l": "liter liters litre litres",
    "gal": "gallon gallons",
    "W": "watt watts",
    "V": "volt volts",
    "A": "amp amps",
    "lm": "lumen lumens",
    "s": "sec seconds",
    "h": "hour hours",
    "pcs": "pc(s) pieces count",
    "den": "denier",
    "m²": "m2",
}
_DIMENSION = {unit: dimension for dimension, scales in _SCALES.items() for unit in scales}
WRITTEN: dict[str, str] = {
    **{unit.lower(): unit for unit in (*_DIMENSION, *_ALONE)},
    **{word: unit for unit, words in _SPELLED.items() for word in words.split()},
}
"""Unit as written (lower case) -> as stored."""


def stored_unit(text: str) -> str:
    """``kilograms`` -> ``kg``; a unit that is not known stays as it is."""
    return WRITTEN.get(text.strip().lower(), text.strip())


def converted(values: Array, unit: str, into: str) -> Array | None:
    """float64: numbers in another unit; None when the two do not measure the same.  No unit is any unit."""
    if unit == into or not unit or not into:
        return values
    dimension = _DIMENSION.get(unit)
    if dimension is None or dimension != _DIMENSION.get(into):
        return None
    scales = _SCALES[dimension]
    there = (values * scales[unit] + _ZERO.get(unit, 0.0) - _ZERO.get(into, 0.0)) / scales[into]
    return _rounded(there)


def _rounded(values: Array) -> Array:
    """To 12 digits: 70 in is 177.8 cm and not 177.79999999999998, whichever way it was reached."""
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 11 - np.floor(np.log10(np.abs(values)))
        scale = 10.0 ** np.where(np.isfinite(power), power, 0)
    rounded: Array = np.round(values * scale) / scale
    return rounded


def usual_unit(units: pa.Array) -> str:
    """The unit that most of these numbers are in; "" where most have none."""
    counts = pc.value_counts(pc.fill_null(units, ""))
    if not len(counts):
        return ""
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return str(max(sorted(pairs), key=lambda pair: pair[1])[0])


def in_unit(numbers: Array, units: pa.Array, into: str) -> Array:
    """float64: the numbers in one unit; NaN where a unit measures something else."""
    coded = pc.fill_null(units, "").dictionary_encode()
    names = coded.dictionary.to_pylist()
    if all(name in ("", into) for name in names):
        return numbers
    code, out = coded.indices.to_numpy(zero_copy_only=False), np.full(len(numbers), np.nan)
    for n, name in enumerate(names):
        there = converted(numbers[code == n], name, into)
        if there is not None:
            out[code == n] = there
    return out
