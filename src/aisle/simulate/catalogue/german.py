"""The second language of the generated shop: what German sellers write and German shoppers type.  Data only.

A noun line reads: shelf | sellers' nouns | shoppers' other words.
"""

from __future__ import annotations

from typing import NamedTuple

from aisle.simulate.catalogue.taxonomy import LEAVES, TEXTS

_NOUNS = """
T-Shirts | T-Shirt | Oberteil, Shirt
Shirts | Hemd, Bluse | Oberhemd
Sweaters | Pullover | Strickpulli, Pulli
Hoodies | Kapuzenpullover, Hoodie | Kapuzenpulli
Jeans | Jeans | Jeanshose, Denimhose
Trousers | Hose, Chino | Stoffhose
Skirts | Rock | Minirock
Shorts | Shorts | kurze Hose, Bermuda
Leggings | Leggings | Sporthose
Dresses | Kleid | Abendkleid
Jackets | Jacke | Mantel, Anorak
Raincoats | Regenjacke | Regenmantel, Friesennerz
Socks | Socken | Strümpfe
Scarves | Schal | Halstuch
Caps | Baseballkappe, Kappe | Mütze, Schirmmütze
Belts | Gürtel | Hosengürtel
Swimsuits | Badeanzug | Schwimmanzug
Sneakers | Turnschuhe, Sneaker | Freizeitschuhe
Running Shoes | Laufschuhe | Joggingschuhe
Ankle Boots | Stiefeletten | Kurzstiefel
Hiking Boots | Wanderstiefel | Wanderschuhe, Bergschuhe
Sandals | Sandalen | Badelatschen
Slippers | Hausschuhe | Pantoffeln, Puschen
Headphones | Kopfhörer | Ohrhörer
Speakers | Lautsprecher | Musikbox
Soundbars | Soundbar | Klangleiste
Laptops | Laptop | Notebook, Klapprechner
Monitors | Monitor | Bildschirm
Keyboards | Tastatur | Keyboard
Tablets | Tablet | Flachrechner
Smartphones | Smartphone | Handy, Mobiltelefon
Televisions | Fernseher | Flachbildschirm, Glotze
Chargers | Ladegerät | Netzteil
Phone Cases | Handyhülle | Schutzhülle
Smartwatches | Smartwatch | Fitnessuhr
Cameras | Kamera | Fotoapparat
Sofas | Sofa | Couch
Armchairs | Sessel | Polsterstuhl
Dining Tables | Esstisch | Küchentisch
Bookcases | Bücherregal | Regal
Wardrobes | Kleiderschrank | Schrank
Desks | Schreibtisch | Arbeitstisch
Office Chairs | Bürostuhl | Drehstuhl
Rugs | Teppich | Läufer
Curtains | Vorhang, Gardine | Store
Duvet Covers | Bettwäsche | Bettbezug
Pillows | Kopfkissen | Kissen
Floor Lamps | Stehlampe | Standleuchte
Pendant Lights | Pendelleuchte | Hängelampe
Frying Pans | Bratpfanne, Pfanne | Stielpfanne
Saucepans | Kochtopf | Stieltopf
Kitchen Knives | Kochmesser, Küchenmesser | Santokumesser
Mugs | Becher, Tasse | Kaffeebecher
Plates | Teller, Essteller | Geschirr
Water Bottles | Trinkflasche | Feldflasche
Coffee Machines | Espressomaschine, Kaffeemaschine | Siebträger
Milk Frothers | Milchaufschäumer | Milchschäumer
Kettles | Wasserkocher | Teekessel
Blenders | Standmixer, Mixer | Smoothiemaker
Coffee | Kaffeebohnen, Kaffee | Röstkaffee
Tea | Tee | Aufguss
Olive Oil | Olivenöl | Speiseöl
Honey | Honig | Bienenhonig
Pasta | Nudeln, Pasta | Spaghetti
Rice | Reis | Basmati
Breakfast Cereals | Müsli | Frühstücksflocken
Chocolate | Schokolade | Schokotafel
Crisps | Kartoffelchips | Chips
Biscuits | Kekse | Plätzchen
Face Creams | Gesichtscreme | Feuchtigkeitscreme
Sunscreens | Sonnencreme | Sonnenmilch
Perfumes | Parfüm | Duft
Shampoos | Shampoo | Haarwaschmittel
Conditioners | Haarspülung | Pflegespülung
Lipsticks | Lippenstift | Lippenfarbe
Nail Polish | Nagellack | Nagelfarbe
Dumbbells | Hantel, Kurzhantel | Gewichte
Yoga Mats | Yogamatte | Gymnastikmatte
Tents | Zelt | Campingzelt
Backpacks | Rucksack | Ranzen
Sleeping Bags | Schlafsack | Biwaksack
Bicycle Helmets | Fahrradhelm | Radhelm
Footballs | Fußball | Lederball
Bicycle Lights | Fahrradlicht | Radlampe
Tennis Rackets | Tennisschläger | Racket
Knee Supports | Kniebandage | Knieschoner
Massage Guns | Massagepistole | Massagegerät
Heating Pads | Heizkissen | Wärmekissen
Soft Toys | Kuscheltier, Plüschtier | Stofftier
Building Blocks | Bausteine | Bauklötze
Jigsaw Puzzles | Puzzle | Legespiel
Board Games | Brettspiel | Gesellschaftsspiel
Plant Pots | Blumentopf | Pflanzkübel
Watering Cans | Gießkanne | Wasserkanne
Dog Beds | Hundebett | Hundekorb
Dog Food | Hundefutter, Trockenfutter | Welpenfutter
Cat Trees | Kratzbaum | Katzenbaum
Notebooks | Notizbuch | Notizheft, Kladde
Fountain Pens | Füllfederhalter, Füller | Tintenfüller
"""


class Nouns(NamedTuple):
    nouns: tuple[str, ...]
    synonyms: tuple[str, ...]


def _parse(text: str) -> tuple[Nouns, ...]:
    lines = (line.split(" | ") for line in text.strip().splitlines())
    of_shelf = {shelf: Nouns(tuple(nouns.split(", ")), tuple(others.split(", "))) for shelf, nouns, others in lines}
    return tuple(of_shelf[leaf.shelf] for leaf in LEAVES)


NOUNS = _parse(_NOUNS)
"""Nouns of each shelf, in the order of LEAVES."""

_VALUES = {
    "black": "schwarz", "jet black": "tiefschwarz", "grey": "grau", "charcoal": "anthrazit", "silver": "silber",
    "white": "weiß", "ivory": "elfenbein", "cream": "creme", "blue": "blau", "navy": "marineblau",
    "sky blue": "himmelblau", "teal": "petrol", "green": "grün", "olive": "oliv", "forest green": "tannengrün",
    "mint": "mint", "red": "rot", "burgundy": "weinrot", "scarlet": "scharlachrot", "pink": "rosa", "rose": "rosé",
    "fuchsia": "fuchsia", "yellow": "gelb", "mustard": "senfgelb", "lemon": "zitrone", "orange": "orange",
    "rust": "rostrot", "coral": "koralle", "purple": "lila", "lavender": "lavendel", "plum": "pflaume",
    "brown": "braun", "tan": "hellbraun", "chocolate": "schokobraun", "beige": "beige", "sand": "sand",
    "taupe": "taupe",
    "plain": "uni", "striped": "gestreift", "dotted": "gepunktet", "checked": "kariert", "floral": "geblümt",
    "women": "Damen", "men": "Herren", "kids": "Kinder",
    "slim fit": "schmale Passform", "regular fit": "normale Passform", "relaxed fit": "weite Passform",
    "cotton": "Baumwolle", "organic cotton": "Biobaumwolle", "jersey": "Jersey", "wool": "Wolle", "merino": "Merino",
    "cashmere": "Kaschmir", "linen": "Leinen", "synthetic": "Kunstfaser", "polyester": "Polyester", "nylon": "Nylon",
    "fleece": "Fleece", "microfibre": "Mikrofaser", "leather": "Leder", "suede": "Wildleder", "nubuck": "Nubuk",
    "fabric": "Stoff", "mesh": "Mesh", "canvas": "Segeltuch", "velvet": "Samt", "boucle": "Bouclé",
    "wood": "Holz", "oak": "Eiche", "walnut": "Nussbaum", "pine": "Kiefer", "bamboo": "Bambus", "beech": "Buche",
    "metal": "Metall", "steel": "Stahl", "aluminium": "Aluminium", "brass": "Messing", "zinc": "Zink",
    "copper": "Kupfer", "stainless steel": "Edelstahl", "cast iron": "Gusseisen", "damascus steel": "Damaststahl",
    "plastic": "Kunststoff", "silicone": "Silikon", "foam": "Schaumstoff", "ceramic": "Keramik",
    "stoneware": "Steingut", "porcelain": "Porzellan", "glass": "Glas", "enamel": "Emaille",
    "natural rubber": "Naturkautschuk", "cork": "Kork",
    "modern": "modern", "rustic": "rustikal", "industrial": "Industriestil", "scandinavian": "skandinavisch",
    "bluetooth": "Bluetooth", "wired": "kabelgebunden", "usb-c": "USB-C",
    "fruit": "Frucht", "berry": "Beere", "vanilla": "Vanille", "sea salt": "Meersalz", "mild": "mild", "dark": "dunkel",
    "meat": "Fleisch", "chicken": "Huhn", "beef": "Rind", "lamb": "Lamm", "fish": "Fisch", "salmon": "Lachs",
    "tuna": "Thunfisch",
    "organic": "Bio", "fair trade": "fairer Handel", "conventional": "konventionell",
    "citrus": "Zitrus", "coconut": "Kokos", "unscented": "ohne Duft",
    "dry skin": "trockene Haut", "oily skin": "fettige Haut", "sensitive skin": "empfindliche Haut",
    "curly hair": "lockiges Haar", "fine hair": "feines Haar", "coloured hair": "gefärbtes Haar",
    "matte": "matt", "glossy": "glänzend", "shimmer": "schimmernd",
    "toddlers": "Kleinkinder", "ages 3-6": "3-6 Jahre", "ages 7-12": "7-12 Jahre",
    "light support": "leichter Halt", "medium support": "mittlerer Halt", "firm support": "fester Halt",
    "two-season": "Sommer", "three-season": "drei Jahreszeiten", "four-season": "Winter",
    "beginner": "Einsteiger", "club": "Verein", "tournament": "Turnier",
    "fine nib": "feine Feder", "medium nib": "mittlere Feder", "broad nib": "breite Feder",
    "lined": "liniert", "squared": "kleinkariert", "dot grid": "Punktraster", "blank": "blanko",
}  # fmt: skip

VALUES = tuple(_VALUES.get(text, text) for text in TEXTS)
"""The German word of each of TEXTS; sizes and the like stay as they are."""

NAMES = {"size": "Größe", "shoe size": "Schuhgröße", "pieces": "Teile", "persons": "Personen", "players": "Spieler"}
NAMES |= {"battery life": "Akkulaufzeit"}
"""Names of attributes that stand beside a value in running text."""

USES = {
    "running": ("zum Laufen", "für lange Strecken"),
    "everyday": ("für jeden Tag", "leicht zu kombinieren"),
    "office": ("fürs Büro", "für den Arbeitstag am Schreibtisch"),
    "party": ("für Partys", "wenn Gäste kommen"),
    "winter": ("für den Winter", "hält an kalten Tagen warm"),
    "summer": ("für den Sommer", "leicht an heißen Tagen"),
    "hiking": ("zum Wandern", "auf Bergwegen zu Hause"),
    "commuting": ("für den Arbeitsweg", "bei jedem Wetter unterwegs"),
    "gym": ("fürs Fitnessstudio", "für das Training"),
    "beach": ("für den Strand", "für Tage am Wasser"),
    "travel": ("für Reisen", "passt in jeden Koffer"),
    "gaming": ("zum Zocken", "für lange Partien"),
    "small spaces": ("für kleine Räume", "spart Platz in engen Wohnungen"),
    "reading": ("zum Lesen", "für lange Abende mit einem Buch"),
    "children's rooms": ("fürs Kinderzimmer", "Kinder lieben es"),
    "sleeping": ("zum Schlafen", "für ruhige Nächte"),
    "induction": ("für Induktion", "für jeden Herd"),
    "camping": ("zum Campen", "für Nächte im Freien"),
    "smoothies": ("für Smoothies", "zerkleinert Eis und Obst"),
    "breakfast": ("zum Frühstück", "für einen guten Morgen"),
    "gifts": ("zum Verschenken", "schön verpackt"),
    "salads": ("für Salate", "am besten kalt"),
    "dinner": ("fürs Abendessen", "in zehn Minuten auf dem Tisch"),
    "yoga": ("für Yoga", "sicherer Halt bei jeder Übung"),
    "training": ("fürs Training", "für den Verein gemacht"),
    "rainy days": ("für Regentage", "stundenlanger Spaß zu Hause"),
    "latte art": ("für Latte Art", "für samtigen Milchschaum"),
    "sore knees": ("bei Knieschmerzen", "entlastet müde Gelenke"),
    "sore backs": ("bei Rückenschmerzen", "schont die Wirbelsäule"),
    "sore necks": ("bei Nackenschmerzen", "bettet den Kopf gerade"),
    "sore elbows": ("bei Tennisarm", "schont den Arm"),
    "sore muscles": ("bei Muskelkater", "lockert harte Beine"),
    "puppies": ("für Welpen", "ab der achten Woche"),
    "balconies": ("für den Balkon", "erreicht jeden Blumenkasten"),
}
"""A use as German shoppers name it, and as sellers paraphrase it."""

FILLERS = ("neu", "Top-Qualität", "Bestseller", "Original", "Sonderangebot", "versandkostenfrei", "hochwertig")
ADJECTIVES = ("bequem", "robust", "zuverlässig", "vielseitig", "praktisch", "gut verarbeitet")
LOOKS = {
    "classic": ("klassisch", "elegant", "zeitlos"),
    "sporty": ("sportlich", "dynamisch", "leicht"),
    "bold": ("auffällig", "kräftig", "fröhlich"),
    "natural": ("natürlich", "ehrlich", "erdig"),
    "minimal": ("schlicht", "minimal", "klar"),
}
OPENINGS = ("unser Modell {noun} von {brand}", "{brand} {noun}", "{noun} von {brand} - {adjective}",
            "{noun} - {adjective} und {second}")  # fmt: skip
CLOSINGS = ("bei Kunden beliebt", "eigenes Design", "pflegeleicht", "in Recyclingkarton verschickt")

UNDER = ("unter", "bis", "maximal")
"""How shoppers name a highest price."""
