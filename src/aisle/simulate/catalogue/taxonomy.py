"""Shelves of the generated shop and their attributes, with the families that values belong to.  Data only.

A leaf line reads: shelf | seller's nouns | shopper's other words | shape of the picture | median price | attributes |
variants by | uses.  The first seller's noun is the usual one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array


class Leaf(NamedTuple):
    """One shelf.  ``variant`` is the attribute by which the variants of one product differ."""

    department: str
    aisle: str
    shelf: str
    nouns: tuple[str, ...]
    synonyms: tuple[str, ...]
    shape: str
    price: float
    attributes: tuple[str, ...]
    variant: str
    uses: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"{self.department} > {self.aisle} > {self.shelf}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Its attributes, that of the variants last where it is not among the others."""
        return tuple(dict.fromkeys((*self.attributes, self.variant)))


_LEAVES = """
Clothing > Tops
T-Shirts | t-shirt, tee | top | tee | 18 | gender colour textile pattern fit | size | running, everyday
Shirts | shirt | button down, blouse | shirt | 36 | gender colour textile pattern fit | size | office, party
Sweaters | sweater, knit | jumper, pullover | sweater | 48 | gender colour textile pattern | size | winter, everyday
Hoodies | hoodie | hooded sweatshirt | hoodie | 42 | gender colour textile fit | size | everyday, running
Clothing > Bottoms
Jeans | jeans | denims | trousers | 55 | gender colour fit | size | everyday
Trousers | trousers, chinos | pants, slacks | trousers | 45 | gender colour textile fit | size | office, hiking
Skirts | skirt | mini | skirt | 34 | colour textile pattern | size | party, office
Shorts | shorts | short pants, bermudas | shorts | 30 | gender colour textile pattern | size | summer, beach
Leggings | leggings | tights, gym pants | leggings | 32 | colour textile fit | size | yoga, gym
Clothing > Dresses and Outerwear
Dresses | dress | gown, frock | dress | 62 | colour textile pattern | size | party, summer
Jackets | jacket | coat, windbreaker | jacket | 95 | gender colour textile | size | winter, hiking
Raincoats | raincoat, rain jacket | waterproof, anorak | jacket | 80 | gender colour | size | hiking, commuting
Clothing > Accessories
Socks | socks | hosiery, stockings | sock | 11 | gender colour textile pattern | size | winter, running
Scarves | scarf | shawl, muffler | scarf | 28 | colour textile pattern | colour | winter
Caps | baseball cap, cap | hat, snapback | cap | 22 | gender colour textile | colour | summer, beach
Belts | belt | waist strap | belt | 32 | gender colour hide | size | office
Swimsuits | swimsuit | bathing suit, swimming costume | swimsuit | 40 | colour pattern | size | beach, summer
Shoes > Athletic
Sneakers | trainers | sneakers, kicks | sneaker | 70 | gender colour upper | shoe_size | everyday, gym
Running Shoes | running shoes | jogging sneakers | sneaker | 95 | gender colour upper | shoe_size | running, gym
Shoes > Boots
Ankle Boots | ankle boots | booties | boot | 98 | gender colour upper | shoe_size | winter, party
Hiking Boots | hiking boots | trekking shoes, walking boots | boot | 125 | gender colour upper | shoe_size | hiking
Shoes > Open and Indoor
Sandals | sandals | flip flops, slides | sandal | 38 | gender colour upper | shoe_size | summer, beach
Slippers | slippers | house shoes | sandal | 24 | gender colour upper | shoe_size | winter
Electronics > Audio
Headphones | headphones | headset | headphones | 85 | colour connection battery | colour | running, travel, gaming
Speakers | speaker, portable speaker | boombox | speaker | 70 | colour connection battery | colour | party, travel
Soundbars | soundbar | tv audio bar | soundbar | 160 | colour connection | colour | gaming, party
Electronics > Computers
Laptops | laptop, laptop computer | notebook pc | laptop | 780 | colour screen memory | memory | gaming, office, travel
Monitors | monitor | pc screen, display | screen | 240 | colour screen | screen | gaming, office
Keyboards | keyboard | keypad | keyboard | 55 | colour connection | colour | gaming, office
Tablets | tablet, tablet computer | touchpad pc, slate | tablet | 320 | colour screen memory | memory | travel, reading
Electronics > Phones and TV
Smartphones | smartphone | cell phone, mobile | phone | 480 | colour screen memory | memory | travel, gaming
Televisions | television, smart tv | telly, flat screen | screen | 520 | colour screen | screen | gaming
Chargers | charger, usb charger | power adapter | charger | 22 | colour connection | colour | travel, office
Phone Cases | phone case | phone cover, mobile sleeve | phonecase | 19 | colour casing screen | colour | travel
Electronics > Wearables and Cameras
Smartwatches | smartwatch | fitness tracker, wrist computer | watch | 210 | colour battery | colour | running, gym
Cameras | camera, digital camera | photo apparatus, shooter | camera | 430 | colour megapixels | megapixels | travel
Home > Furniture
Sofas | sofa | couch, settee | sofa | 640 | colour cover style width | colour | small spaces
Armchairs | armchair | easy chair | armchair | 280 | colour cover style width | colour | reading
Dining Tables | dining table | kitchen table | table | 360 | colour hard style width | width | small spaces
Bookcases | bookcase | shelving unit | bookcase | 150 | colour hard style width | width | office, small spaces
Wardrobes | wardrobe | closet, armoire | wardrobe | 390 | colour hard style width | width | small spaces
Desks | desk | writing table, workstation | desk | 260 | colour hard style width | width | office, small spaces
Office Chairs | office chair | swivel chair, task seat | officechair | 190 | colour cover | colour | office, sore backs
Home > Textiles
Rugs | rug, area rug | carpet | rug | 110 | colour fibre pattern style width | width | children's rooms
Curtains | curtains | drapes | curtains | 42 | colour fibre pattern width | width | sleeping
Duvet Covers | duvet cover | quilt cover, bedding | bed | 55 | colour fibre pattern width | width | sleeping
Pillows | pillow | headrest, bolster | pillow | 29 | colour fibre width | colour | sleeping, sore necks
Home > Lighting
Floor Lamps | floor lamp | standing light, uplighter | floorlamp | 85 | colour hard style | colour | reading
Pendant Lights | pendant light | hanging lamp, ceiling light | pendant | 70 | colour hard style | colour | office
Kitchen > Cookware
Frying Pans | frying pan | skillet | pan | 38 | colour pot width | width | induction
Saucepans | saucepan | cooking pot | pot | 42 | colour pot width | width | induction
Kitchen Knives | kitchen knife, chef's knife | cleaver, santoku | knife | 46 | colour blade width | width | dinner
Kitchen > Tableware
Mugs | mug | coffee cup, beaker | mug | 12 | colour dish pattern | colour | camping, office
Plates | dinner plate | dishes | plate | 15 | colour dish pattern width | colour | party
Water Bottles | water bottle | drinking flask, canteen | flask | 24 | colour pot volume | volume | hiking, gym
Kitchen > Coffee and Tea
Coffee Machines | espresso machine, coffee machine | coffee maker | coffeemachine | 180 | colour pot | colour | latte art
Milk Frothers | milk frother | milk foamer, steaming jug | frother | 38 | colour pot | colour | latte art, breakfast
Kitchen > Appliances
Kettles | electric kettle, kettle | water boiler | kettle | 45 | colour pot | colour | office, travel
Blenders | blender | liquidiser, smoothie maker | blender | 75 | colour | colour | smoothies
Grocery > Drinks
Coffee | coffee beans, coffee | java, espresso roast | bag | 13 | flavour diet weight | weight | breakfast, gifts
Tea | tea, loose leaf tea | infusion, brew | bag | 8 | flavour diet weight | weight | sleeping, gifts
Grocery > Pantry
Olive Oil | olive oil | evoo, cooking oil | bottle | 14 | diet weight | weight | salads
Honey | honey | nectar | jar | 9 | flavour diet weight | weight | breakfast, gifts
Pasta | pasta | noodles, spaghetti | bag | 4 | diet weight | weight | dinner
Rice | rice | basmati, risotto grains | bag | 6 | diet weight | weight | dinner
Breakfast Cereals | cereal, breakfast cereal | muesli, granola | box | 6 | flavour diet weight | weight | breakfast
Grocery > Sweets and Snacks
Chocolate | chocolate bar | candy bar, cocoa bar | bar | 5 | flavour diet weight | weight | gifts
Crisps | crisps | potato chips | bag | 4 | flavour diet weight | weight | party
Biscuits | biscuits | cookies | box | 6 | flavour diet weight | weight | gifts, party
Beauty > Skin
Face Creams | face cream | moisturiser | jar | 26 | scent skin volume | volume | winter, travel
Sunscreens | sunscreen | sunblock, sun cream | bottle | 18 | scent skin volume | volume | beach, hiking
Perfumes | perfume | fragrance, eau de toilette | perfume | 58 | scent volume | volume | party, gifts
Beauty > Hair
Shampoos | shampoo | hair wash | bottle | 11 | scent hair volume | volume | travel, gym
Conditioners | conditioner | hair rinse | bottle | 12 | scent hair volume | volume | travel
Beauty > Make-up
Lipsticks | lipstick | lip colour | lipstick | 16 | colour finish | colour | party, office
Nail Polish | nail polish | nail varnish | polish | 9 | colour finish | colour | party, summer
Sport > Fitness
Dumbbells | dumbbell | hand weights, free weights | dumbbell | 32 | colour weight_kg | weight_kg | gym
Yoga Mats | yoga mat | exercise mat | mat | 34 | colour mat | colour | yoga, travel
Sport > Outdoor
Tents | tent | camping shelter | tent | 190 | colour persons | persons | camping, beach
Backpacks | backpack | rucksack, knapsack | backpack | 68 | colour bagcloth litres | colour | hiking, travel, commuting
Sleeping Bags | sleeping bag | bedroll, bivvy | sleepingbag | 85 | colour season persons | season | camping
Sport > Cycling and Ball Games
Bicycle Helmets | bicycle helmet | bike lid, crash hat | helmet | 58 | gender colour | colour | commuting
Footballs | football | soccer ball | ball | 25 | colour pattern | colour | beach, training
Bicycle Lights | bicycle light | bike lamp, dynamo lantern | bikelight | 27 | colour battery | colour | commuting
Tennis Rackets | tennis racket | racquet, bat | racket | 90 | colour level | colour | training, sore elbows
Health > Supports and Massage
Knee Supports | knee support | knee brace, knee sleeve | kneesleeve | 26 | colour support | size | sore knees, running
Massage Guns | massage gun | muscle massager, body hammer | massagegun | 95 | colour battery | colour | sore muscles, gym
Heating Pads | heating pad | heat cushion, hot pack | heatpad | 36 | colour width | colour | sore backs, winter
Toys > Play
Soft Toys | soft toy, plush toy | stuffed animal, teddy | teddy | 20 | colour age | colour | gifts, sleeping
Building Blocks | building blocks | bricks | blocks | 35 | blocks colour age pieces | pieces | gifts, travel
Jigsaw Puzzles | jigsaw puzzle | jigsaw | puzzle | 17 | age pieces | pieces | gifts, rainy days
Board Games | board game | tabletop game, parlour game | game | 33 | age players | players | rainy days, gifts
Garden > Growing
Plant Pots | plant pot | planter, flowerpot | flowerpot | 22 | colour dish width | width | small spaces
Watering Cans | watering can | water sprinkler | can | 26 | colour can litres | colour | balconies
Pets > Dogs and Cats
Dog Beds | dog bed | puppy basket, pet mattress | dogbed | 48 | colour cover width | width | sleeping
Dog Food | dog food, dry dog food | kibble, pet feed | bag | 27 | meat diet weight | weight | puppies
Cat Trees | cat tree | scratching post, climbing tower | cattree | 75 | colour cover width | width | small spaces
Office > Writing
Notebooks | notebook, notepad | journal, jotter | notebook | 10 | colour ruling | colour | office, gifts
Fountain Pens | fountain pen | ink pen, writing instrument | pen | 34 | colour nib | colour | office, gifts
"""


def _parse(text: str) -> tuple[Leaf, ...]:
    leaves, department, aisle = [], "", ""
    for line in text.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 1:
            department, aisle = line.split(" > ")
            continue
        shelf, nouns, synonyms, shape, price, attributes, variant, uses = cells
        leaves.append(
            Leaf(
                department,
                aisle,
                shelf,
                tuple(nouns.split(", ")),
                tuple(synonyms.split(", ")),
                shape,
                float(price),
                tuple(attributes.split()),
                variant,
                tuple(uses.split(", ")),
            )
        )
    return tuple(leaves)


LEAVES = _parse(_LEAVES)

# Value families: a value is a kind of its family ("navy" is a blue).  A family's own name is its first value.
COLOURS = {
    "black": {"black": "#2b2b30", "jet black": "#1c1c20"},
    "grey": {"grey": "#8d9197", "charcoal": "#4a4e55", "silver": "#b9bec5"},
    "white": {"white": "#f7f6f2", "ivory": "#f3ecd9", "cream": "#efe3c6"},
    "blue": {"blue": "#3a6fb7", "navy": "#22355c", "sky blue": "#86b9e0", "teal": "#2b7f86"},
    "green": {"green": "#4f9a5b", "olive": "#7b7f3f", "forest green": "#2f5d45", "mint": "#a5d6bd"},
    "red": {"red": "#c8393b", "burgundy": "#7a2438", "scarlet": "#df4a36"},
    "pink": {"pink": "#e79ab3", "rose": "#d0718c", "fuchsia": "#c93f8d"},
    "yellow": {"yellow": "#ecc94b", "mustard": "#c89b2f", "lemon": "#f1e07a"},
    "orange": {"orange": "#e58a3a", "rust": "#b5542b", "coral": "#f08a72"},
    "purple": {"purple": "#7a56a5", "lavender": "#b7a3d6", "plum": "#5d3159"},
    "brown": {"brown": "#7a5236", "tan": "#c49a6c", "chocolate": "#4e3426"},
    "beige": {"beige": "#dccdb2", "sand": "#d3bd93", "taupe": "#a39382"},
}
HEX = {value: code for family in COLOURS.values() for value, code in family.items()}

# Colour families that make sense in a department, aisle or shelf (the narrowest entry counts); others use all.
_TECH, _WOODEN = ("black", "grey", "white", "blue", "red"), ("brown", "beige", "white", "black", "grey")
PALETTES = {
    "Electronics": _TECH,
    "Cookware": ("black", "grey", "red", "green"),
    "Appliances": (*_TECH, "green", "beige"),
    "Coffee and Tea": (*_TECH, "green", "beige"),
    "Dining Tables": _WOODEN,
    "Bookcases": _WOODEN,
    "Wardrobes": _WOODEN,
    "Desks": _WOODEN,
    "Belts": ("brown", "black", "beige", "white", "red"),
    "Jeans": ("blue", "black", "grey", "white"),
    "Lipsticks": ("red", "pink", "purple", "brown", "orange"),
    "Dumbbells": ("black", "grey", "blue", "pink"),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "floral")


BROADER = {
    **dict.fromkeys(("cotton", "wool", "linen"), "natural fibre"),
    **dict.fromkeys(("black", "grey", "brown", "purple"), "dark"),
    **dict.fromkeys(("white", "beige"), "light"),
    **dict.fromkeys(("red", "orange", "yellow", "pink"), "warm"),
    **dict.fromkeys(("blue", "green"), "cold"),
    **dict.fromkeys(("meat", "fish"), "animal"),
}
"""Family -> the class above it: merino is a wool, wool is a natural fibre.  Families without an entry stand alone."""


class Kind(NamedTuple):
    """An attribute kind.  ``name`` is the displayed one; a text has families of values, a number values and a unit."""

    name: str
    families: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    numbers: tuple[float, ...] = ()
    unit: str | None = None


def _flat(*values: str) -> dict[str, tuple[str, ...]]:
    return {value: (value,) for value in values}


_COTTON = {
    "cotton": ("cotton", "organic cotton", "jersey"),
    "wool": ("wool", "merino", "cashmere"),
    "linen": ("linen",),
}
_HOME_FIBRE = {"cotton": ("cotton", "organic cotton"), "wool": ("wool",), "linen": ("linen",)}
_SYNTHETIC = {"synthetic": ("polyester", "nylon", "fleece")}
_LEATHER = {"leather": ("leather", "suede", "nubuck")}
_WOOD = {"wood": ("oak", "walnut", "pine", "bamboo")}
_METAL = {"metal": ("steel", "aluminium", "brass")}

KINDS = {
    "colour": Kind("colour", {family: tuple(values) for family, values in COLOURS.items()}),
    "pattern": Kind("pattern", _flat(*PATTERNS)),
    "gender": Kind("gender", _flat("women", "men", "kids")),
    "size": Kind("size", _flat("S", "M", "L", "XL")),
    "fit": Kind("fit", _flat("slim fit", "regular fit", "relaxed fit")),
    "textile": Kind("material", {**_COTTON, **_SYNTHETIC}),
    "fibre": Kind("material", {**_HOME_FIBRE, "synthetic": ("polyester", "microfibre")}),
    "upper": Kind("material", {**_LEATHER, "fabric": ("mesh", "canvas")}),
    "cover": Kind("material", {**_LEATHER, "fabric": ("velvet", "linen", "boucle")}),
    "hard": Kind("material", {**_WOOD, **_METAL, "plastic": ("plastic",)}),
    "blocks": Kind("material", {"wood": ("beech", "pine"), **_flat("plastic", "foam")}),
    "can": Kind("material", {"metal": ("zinc", "steel", "copper"), **_flat("plastic")}),
    "pot": Kind("material", {"metal": ("stainless steel", "cast iron", "aluminium", "copper")}),
    "dish": Kind("material", {"ceramic": ("ceramic", "stoneware", "porcelain"), **_flat("glass", "enamel")}),
    "mat": Kind("material", _flat("natural rubber", "cork", "foam")),
    "bagcloth": Kind("material", {"synthetic": ("nylon", "polyester"), "fabric": ("canvas",), "leather": ("leather",)}),
    "hide": Kind("material", {**_LEATHER, "fabric": ("canvas",)}),
    "casing": Kind("material", {"leather": ("leather",), "plastic": ("plastic", "silicone"), "wood": ("bamboo",)}),
    "blade": Kind("material", {"metal": ("stainless steel", "damascus steel"), **_flat("ceramic")}),
    "nib": Kind("nib", _flat("fine nib", "medium nib", "broad nib")),
    "style": Kind("style", _flat("modern", "rustic", "industrial", "scandinavian")),
    "connection": Kind("connection", _flat("bluetooth", "wired", "usb-c")),
    "flavour": Kind("flavour", {"fruit": ("orange", "lemon", "berry"), **_flat("vanilla", "sea salt", "mild", "dark")}),
    "meat": Kind("flavour", {"meat": ("chicken", "beef", "lamb"), "fish": ("salmon", "tuna")}),
    "diet": Kind("diet", _flat("organic", "fair trade", "conventional")),
    "scent": Kind("scent", {"floral": ("rose", "lavender"), "fruit": ("citrus", "coconut"), **_flat("unscented")}),
    "skin": Kind("skin type", _flat("dry skin", "oily skin", "sensitive skin")),
    "hair": Kind("hair type", _flat("curly hair", "fine hair", "coloured hair")),
    "finish": Kind("finish", _flat("matte", "glossy", "shimmer")),
    "age": Kind("age", _flat("toddlers", "ages 3-6", "ages 7-12")),
    "support": Kind("support", _flat("light support", "medium support", "firm support")),
    "season": Kind("season", _flat("two-season", "three-season", "four-season")),
    "level": Kind("level", _flat("beginner", "club", "tournament")),
    "ruling": Kind("ruling", _flat("lined", "squared", "dot grid", "blank")),
    "shoe_size": Kind("shoe size", numbers=(37, 38, 39, 40, 41, 42, 43, 44)),
    "battery": Kind("battery life", numbers=(8, 12, 20, 30, 40), unit="h"),
    "screen": Kind("screen size", numbers=(5, 6, 8, 11, 13, 15, 24, 27, 32, 43, 55), unit="in"),
    "memory": Kind("memory", numbers=(64, 128, 256, 512), unit="GB"),
    "width": Kind("width", numbers=(15, 20, 24, 28, 40, 60, 80, 120, 160, 200), unit="cm"),
    "weight": Kind("weight", numbers=(100, 250, 500, 1000), unit="g"),
    "volume": Kind("volume", numbers=(50, 100, 200, 400, 500, 750), unit="ml"),
    "weight_kg": Kind("weight", numbers=(2, 4, 8, 12, 16), unit="kg"),
    "persons": Kind("persons", numbers=(1, 2, 4, 6)),
    "litres": Kind("capacity", numbers=(5, 10, 20, 30, 45), unit="l"),
    "megapixels": Kind("resolution", numbers=(12, 20, 24, 45), unit="MP"),
    "players": Kind("players", numbers=(2, 4, 6)),
    "pieces": Kind("pieces", numbers=(50, 100, 500, 1000)),
}

# Which of a number kind's values make sense on a shelf; shelves without an entry use all of them.
SENSIBLE = {
    "Smartphones": (5, 6),
    "Phone Cases": (5, 6),
    "Tablets": (8, 11),
    "Laptops": (13, 15),
    "Sofas": (160, 200),
    "Armchairs": (80,),
    "Dining Tables": (120, 160, 200),
    "Bookcases": (80, 120),
    "Wardrobes": (80, 120, 160),
    "Curtains": (120, 160),
    "Desks": (120, 160),
    "Pillows": (40, 60, 80),
    "Heating Pads": (40, 60),
    "Dog Beds": (60, 80, 120),
    "Cat Trees": (40, 60),
    "Kitchen Knives": (15, 20, 24),
    "Water Bottles": (400, 500, 750),
    "Sleeping Bags": (1, 2),
    "Bicycle Lights": (8, 12, 20),
    "Monitors": (24, 27, 32),
    "Televisions": (32, 43, 55),
    "Frying Pans": (20, 24, 28),
    "Saucepans": (20, 24),
    "Plates": (20, 24, 28),
    "Plant Pots": (20, 24, 28),
    "Watering Cans": (5, 10),
    "Backpacks": (20, 30, 45),
}
LARGE = {"width": (80, 120, 160, 200), "volume": (50, 100, 200, 400)}
"""What a shelf without an entry above uses of a kind that has sizes for many shelves."""


def values_of(leaf: Leaf, kind: str) -> tuple[tuple[str, str], ...]:
    """(value, family) of a text attribute on a shelf."""
    families = KINDS[kind].families
    palette: tuple[str, ...] | None = None
    if kind == "colour":
        palette = next((PALETTES[n] for n in (leaf.shelf, leaf.aisle, leaf.department) if n in PALETTES), None)
    return tuple((value, family) for family in palette or families for value in families[family])


def numbers_of(leaf: Leaf, kind: str) -> tuple[float, ...]:
    """Values of a number attribute on a shelf; empty for a text attribute."""
    numbers = KINDS[kind].numbers
    sensible = SENSIBLE.get(leaf.shelf, LARGE.get(kind, numbers))
    return tuple(n for n in numbers if n in sensible) or numbers


TEXTS = tuple(dict.fromkeys(text for k in KINDS.values() for f, values in k.families.items() for text in (f, *values)))
CODE = {text: code for code, text in enumerate(TEXTS)}


class Entry(NamedTuple):
    """One value of an attribute: a text with its family, or a number with its unit."""

    name: str
    text: str | None
    family: str | None
    number: float | None
    unit: str | None


def _entries() -> tuple[tuple[Entry, ...], tuple[tuple[Array, ...], ...]]:
    place: dict[Entry, int] = {}
    shelves = []
    for leaf in LEAVES:
        slots = []
        for kind in leaf.kinds:
            name, _, _, unit = KINDS[kind]
            of_text = [Entry(name, value, family, None, None) for value, family in values_of(leaf, kind)]
            if KINDS[kind].numbers:
                of_text = [Entry(name, None, None, float(number), unit) for number in numbers_of(leaf, kind)]
            slots.append(np.array([place.setdefault(entry, len(place)) for entry in of_text], np.int16))
        shelves.append(tuple(slots))
    return tuple(place), tuple(shelves)


ENTRIES, CHOICES = _entries()
"""Every value that an attribute of a shelf may have; and shelf -> attribute -> int16 indices into ENTRIES."""

NUM_PLACES = max(len(leaf.kinds) for leaf in LEAVES)
