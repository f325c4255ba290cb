"""Aspects that shoppers review, with the words for them and for what they think of them.  Data only.

An entry reads: aspect | its terms | groups of words of praise | groups of words of blame | where it is talked about
(departments, aisles, shelves, an attribute after #, or all).  Words joined by = say the same.  The same word may praise
one aspect and blame another: long battery life, long delivery.
"""

from __future__ import annotations

from typing import NamedTuple

from aisle.simulate.catalogue.taxonomy import KINDS, LEAVES, Leaf

_ASPECTS = """
quality | quality, workmanship, finish | excellent=outstanding=superb, solid=sturdy=well made
    | poor=awful=terrible, flimsy=shoddy=cheap looking
    | all
price | price, cost, value | fair=reasonable=good, low=modest | steep=excessive=too high, unfair=unreasonable | all
delivery | delivery, shipping, dispatch | fast=quick=prompt, careful=smooth | slow=late=long, sloppy=careless | all
packaging | packaging, wrapping, box | neat=tidy=lovely, sturdy=safe | damaged=crushed=torn, wasteful=excessive
    | Grocery, Beauty, Toys, Tableware
fit | fit, cut, sizing | perfect=flattering=spot on, roomy=generous | tight=narrow=too small, baggy=shapeless
    | Clothing, Shoes
fabric | fabric, cloth, material | soft=cosy=smooth, thick=warm | scratchy=rough=itchy, thin=see-through
    | Clothing, Textiles, Cat Trees
colour | colour, shade, tone | vivid=bright=rich, true=as pictured
    | dull=faded=washed out, off=different from the picture
    | #colour
stitching | stitching, seams, sewing | tidy=neat=straight, strong=robust | loose=frayed=crooked, weak=brittle
    | Clothing, Backpacks, Soft Toys, Sofas
comfort | comfort, cushioning, padding | wonderful=great=pleasant, soft=plush | hard=stiff=uncomfortable, lumpy=uneven
    | Shoes, Furniture, Pillows, Health, Dog Beds, Headphones
sole | sole, grip, tread | firm=grippy=secure, flexible=springy | slippery=slick=unsafe, stiff=hard | Shoes
battery | battery, battery life, charge | long=long-lasting=enduring, strong=reliable
    | weak=short=short-lived, unreliable=erratic
    | #battery life, Laptops, Smartphones
sound | sound, audio, bass | clear=crisp=balanced, rich=full=deep | tinny=thin=hollow, muffled=distorted=noisy
    | Audio, Televisions
screen | screen, display, picture | sharp=crisp=detailed, bright=brilliant | blurry=grainy=coarse, dim=dark=pale
    | #screen size
speed | speed, performance, response | fast=snappy=quick, smooth=fluid | slow=sluggish=laggy, jerky=choppy
    | Computers, Smartphones, Smartwatches, Cameras
setup | setup, assembly, instructions | easy=simple=effortless, clear=logical
    | fiddly=difficult=complicated, confusing=useless
    | Furniture, Electronics, Tents, Cat Trees, Lighting
light | light, glow, beam | warm=pleasant=soft, bright=powerful | harsh=glaring=cold, dim=weak=feeble
    | Lighting, Bicycle Lights
handle | handle, grip, balance | firm=secure=steady, comfortable=handy | loose=wobbly=shaky, slippery=awkward
    | Kitchen, Tennis Rackets, Massage Guns, Watering Cans, Fountain Pens
cleaning | cleaning, washing, care | easy=effortless=simple, quick=fast | hard=tedious=tiresome, slow=long
    | Kitchen, Rugs, Sofas, Yoga Mats
heat | heat, warmth, heating | even=steady=uniform, strong=fast | uneven=patchy=irregular, weak=slow
    | Cookware, Kettles, Coffee Machines, Heating Pads, Sleeping Bags
taste | taste, flavour, aroma | delicious=tasty=lovely, fresh=intense=full | bland=flat=boring, stale=bitter=off
    | Grocery, Dog Food
scent | scent, smell, fragrance | pleasant=lovely=nice, light=delicate=subtle
    | overpowering=heavy=strong, chemical=synthetic=sickly
    | Beauty
texture | texture, consistency, feel | silky=creamy=smooth, light=airy | greasy=oily=sticky, heavy=thick | Beauty
weight | weight, build, size | light=handy=manageable, compact=slim | heavy=bulky=clumsy, oversized=huge
    | Electronics, Outdoor, Fitness, Bicycle Helmets
waterproofing | waterproofing, rain cover, lining | tight=dependable=complete, thick=strong
    | leaky=porous=useless, thin=weak
    | Raincoats, Tents, Hiking Boots, Backpacks
fun | fun, play value, idea | great=huge=endless, clever=original | low=short=little, silly=dull=boring | Toys
paper | paper, ink flow, page | smooth=even=fine, thick=strong | scratchy=rough=uneven, thin=weak | Office
"""


class Aspect(NamedTuple):
    """``praise`` and ``blame`` are groups of words that say the same."""

    name: str
    terms: tuple[str, ...]
    praise: tuple[tuple[str, ...], ...]
    blame: tuple[tuple[str, ...], ...]
    where: tuple[str, ...]

    def of(self, leaf: Leaf) -> bool:
        """Whether shoppers talk about it on this shelf."""
        names = {leaf.department, leaf.aisle, leaf.shelf, "all"} | {f"#{KINDS[kind].name}" for kind in leaf.kinds}
        return bool(names & set(self.where))


def _parse(text: str) -> tuple[Aspect, ...]:
    aspects = []
    for line in text.strip().replace("\n    ", " ").splitlines():
        name, terms, praise, blame, where = (cell.strip() for cell in line.split("|"))
        good, bad = (tuple(tuple(group.split("=")) for group in side.split(", ")) for side in (praise, blame))
        aspects.append(Aspect(name, tuple(terms.split(", ")), good, bad, tuple(where.split(", "))))
    return tuple(aspects)


ASPECTS = _parse(_ASPECTS)

OF_LEAF = tuple(tuple(n for n, aspect in enumerate(ASPECTS) if aspect.of(leaf)) for leaf in LEAVES)
"""Shelf -> indices into ASPECTS."""

PLAIN = (
    "The {term} is {opinion}.",
    "I find the {term} {opinion}.",
    "{Opinion} {term}.",
    "The {term} turned out {opinion}.",
    "My verdict on the {term}: {opinion}.",
    "The {term}? {Opinion}, if you ask me.",
)
DENIED = (
    "The {term} is not {opinion}.",
    "The {term} is not {opinion} at all.",
    "I would not call the {term} {opinion}.",
)
"""What is denied counts for the other side: not scratchy is praise."""

OPENERS = (
    "Bought this {noun} two months ago.",
    "My second {noun} from this shop.",
    "I was looking for a {noun} for a long time.",
    "This {noun} was a present for my sister.",
    "Ordered the {noun} on a Sunday.",
)
CLOSERS = (
    "Make of that what you will.",
    "My neighbour has the same one.",
    "Will look around some more next year.",
    "That is all I can say so far.",
    "Photos will follow.",
)
"""Sentences without an opinion."""
