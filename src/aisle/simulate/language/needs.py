"""Wishes that name no shelf: questions, and goals that take knowledge of the world to turn into a product.  Data only.

A question line reads: use | phrasings.  The use is the want; the shelves that usually serve it answer.
A knowledge line reads: phrase | shelf | attribute: value, with "not" before what must not be | the fact behind it, as
an encyclopaedia would have it.  Facts are what useful external text says.
"""

from __future__ import annotations

from typing import NamedTuple

from aisle.simulate.catalogue.taxonomy import KINDS, LEAVES
from aisle.simulate.grades.intent import Want


class Question(NamedTuple):
    use: str
    phrases: tuple[str, ...]

    @property
    def leaves(self) -> tuple[int, ...]:
        """The shelves that it usually calls for."""
        return tuple(n for n, leaf in enumerate(LEAVES) if self.use in leaf.uses)


class Goal(NamedTuple):
    phrase: str
    leaf: int
    wants: tuple[Want, ...]
    fact: str


_QUESTIONS = """
sore knees | something for sore knees, what helps when my knees hurt on stairs, knee pain after running what to buy
sore backs | something for back pain at the desk, what helps a sore back, my back hurts from sitting
sore necks | stiff neck in the morning what helps, something for sore necks
sore elbows | something for tennis elbow, my elbow hurts when i play
sore muscles | what helps with sore legs after training, something for sore muscles
puppies | what to feed a new puppy, getting a puppy what do i need
latte art | what do i need for latte art
sleeping | something to help me fall asleep, how to sleep better, i cannot sleep at night
small spaces | what fits a tiny flat, something that saves space, furnishing a very small room
rainy days | what to do with kids when it rains, something to play indoors
gifts | what to give someone who has everything, a present for my aunt, nice gift for a colleague
winter | how to stay warm when it freezes, something against the cold
summer | what to take for hot days
beach | what to take to the seaside, day at the sea what do i need
camping | first time sleeping in a tent what do i need, something for a weekend outdoors
travel | what to take on a long flight, something that fits hand luggage
commuting | something for my bike ride to work
gym | starting to work out what do i need
yoga | what do i need for a first yoga class
breakfast | something quick to eat in the morning
dinner | what to cook fast tonight
salads | what goes with fresh leaves
induction | what can i use on a magnetic hob
gaming | what do i need for esports
party | what to bring to a birthday party, guests are coming what do i need
balconies | what do i need for plants on a small terrace
office | setting up my home office what do i need
"""

_KNOWLEDGE = """
pan for searing steak | Frying Pans | material: cast iron | Searing a steak takes cast iron, which keeps heat.
pan a weak wrist can lift | Frying Pans | material: aluminium | Aluminium pans are the lightest that conduct well.
pot for tomato sauce | Saucepans | material: stainless steel | Acid attacks bare metal; stainless steel resists it.
pot for tempering sugar | Saucepans | material: copper | Confectioners boil sugar in copper, which heats evenly.
jug for steaming milk for latte art | Milk Frothers | material: stainless steel | Baristas use stainless steel.
knife that can never rust | Kitchen Knives | material: ceramic | Ceramic blades do not rust.
knife with wavy layered steel | Kitchen Knives | material: damascus steel | Layered blades are called damascus steel.
top that does not smell after a run | T-Shirts | material: merino | Merino wool keeps odour down.
shirt for august heat | Shirts | material: linen | Linen is the coolest cloth to wear in heat.
softest goat hair sweater | Sweaters | material: cashmere | Cashmere is the under-hair of a goat.
warm hoodie that dries fast | Hoodies | material: fleece | Fleece is warm and dries quickly.
vegan trainers | Sneakers | not material: leather | Leather, suede and nubuck are animal skin.
vegan running shoes | Running Shoes | not material: leather | Leather, suede and nubuck are animal skin.
vegan belt | Belts | not material: leather | Leather, suede and nubuck are animal skin.
breathable summer trainers | Sneakers | material: mesh | Mesh uppers let the most air through.
boots with a velvety nap | Ankle Boots | material: suede | Leather with a nap on the flesh side is suede.
animal free sofa | Sofas | not material: leather | Leather, suede and nubuck are animal skin.
bookcase of the fastest growing plant | Bookcases | material: bamboo | Bamboo is the fastest growing plant.
phone cover that bounces | Phone Cases | material: silicone | Silicone is the rubbery material of covers.
cup thin enough for light to shine through | Mugs | material: porcelain | Thin porcelain is translucent.
mat made from tree bark | Yoga Mats | material: cork | Cork is the bark of an oak.
mat that grips in hot yoga | Yoga Mats | material: natural rubber | Natural rubber grips also when wet.
laptop for a small handbag | Laptops | screen size: 13 | The smallest common laptops have 13 inches.
phone with room for hours of 4k video | Smartphones | memory: 512 | 4K video fills 22 GB an hour.
cheap phone memory is enough for calls | Smartphones | memory: 64 | Who only calls needs the least memory.
headphones for a flight to sydney | Headphones | battery life: 40 | A flight to Sydney takes more than 20 hours.
monitor for two pages side by side | Monitors | screen size: 32 | Two pages side by side take 32 inches.
tv for a sofa three metres away | Televisions | screen size: 55 | Three metres away 55 inches fill the view.
camera for poster prints | Cameras | resolution: 45 | A poster takes more than 40 megapixels.
keyboard without cable | Keyboards | connection: bluetooth | Wireless keyboards connect by Bluetooth.
headphones for a studio mixer | Headphones | connection: wired | Studio gear has sockets, no radio.
charger with the european standard plug | Chargers | connection: usb-c | The European standard plug is USB-C.
tent for a family of four | Tents | persons: 4 | A tent is rated by the number of sleepers.
tent for soloists | Tents | persons: 1 | A tent is rated by the number of sleepers.
sleeping bag for snow | Sleeping Bags | season: four-season | Bags for frost are rated four-season.
backpack for a week on the trail | Backpacks | capacity: 45 | A week on the trail takes 45 litres and more.
daypack | Backpacks | capacity: 20 | A pack for a day holds about 20 litres.
dumbbells for gentle rehab | Dumbbells | weight: 2 | Rehabilitation starts with the lightest weights.
racket for a first lesson | Tennis Rackets | level: beginner | Beginners need a large, light head.
brace after a torn ligament | Knee Supports | support: firm support | A torn ligament needs firm support.
cream for flaky cheeks | Face Creams | skin type: dry skin | Flaking is a sign of dry skin.
cream that calms redness | Face Creams | skin type: sensitive skin | Redness is a sign of sensitive skin.
sunscreen for a shiny forehead | Sunscreens | skin type: oily skin | Shine is a sign of oily skin.
shampoo for ringlets | Shampoos | hair type: curly hair | Ringlets are curls.
shampoo after bleaching | Shampoos | hair type: coloured hair | Bleached hair is coloured hair.
conditioner for limp strands | Conditioners | hair type: fine hair | Limp strands are fine hair.
lipstick that does not shine | Lipsticks | finish: matte | What does not shine is matte.
coffee without bitterness | Coffee | flavour: mild | Mild roasts have little bitterness.
chocolate with mostly cocoa | Chocolate | flavour: dark | Chocolate with much cocoa is called dark.
tea that pays farmers well | Tea | diet: fair trade | Fair trade pays farmers a minimum price.
tea grown without pesticides | Tea | diet: organic | Organic farming does without most pesticides.
kibble rich in omega 3 | Dog Food | flavour: fish | Omega 3 comes from fish such as salmon and tuna.
kibble for dogs allergic to poultry | Dog Food | not flavour: chicken | Chicken is poultry.
pen for tiny handwriting | Fountain Pens | nib: fine nib | Small writing needs a fine nib.
pen for a bold signature | Fountain Pens | nib: broad nib | A bold line needs a broad nib.
bullet journal | Notebooks | ruling: dot grid | Bullet journals are kept on a dot grid.
maths exercise book | Notebooks | ruling: squared | Sums are written on squared paper.
sketchbook | Notebooks | ruling: blank | Sketching needs blank paper.
puzzle for a very patient person | Jigsaw Puzzles | pieces: 1000 | The hardest common puzzles have 1000 pieces.
game for just the two of us | Board Games | players: 2 | Some games are made for two.
first bricks for a baby | Building Blocks | age: toddlers | Small parts are not for toddlers unless stated.
lamp for a loft with bare bricks | Floor Lamps | style: industrial | Bare bricks and steel are the industrial style.
sofa for a hygge living room | Sofas | style: scandinavian | Hygge is a Danish word for cosiness.
table for a farmhouse kitchen | Dining Tables | style: rustic | Farmhouses are furnished in rustic style.
rug under a table for eight | Rugs | width: 200 | A table for eight needs a rug two metres wide.
queen size bedding | Duvet Covers | width: 160 | A queen size bed is about 160 cm wide.
light for cycling all night | Bicycle Lights | battery life: 20 | A night is at most 16 hours long.
"""


def _questions() -> tuple[Question, ...]:
    found = []
    for line in _QUESTIONS.strip().splitlines():
        use, phrases = (cell.strip() for cell in line.split("|"))
        found.append(Question(use, tuple(phrases.split(", "))))
    return tuple(found)


def _goals() -> tuple[Goal, ...]:
    place = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}
    found = []
    for line in _KNOWLEDGE.strip().splitlines():
        phrase, shelf, asked, fact = (cell.strip() for cell in line.split("|"))
        found.append(Goal(phrase, place[shelf], (_want(place[shelf], asked),), fact))
    return tuple(found)


def _want(leaf: int, asked: str) -> Want:
    name, value = asked.removeprefix("not ").split(": ")
    negated = asked.startswith("not ")
    kind = next(KINDS[k] for k in (*LEAVES[leaf].attributes, LEAVES[leaf].variant) if KINDS[k].name == name)
    if kind.numbers:
        return Want(name, number=float(value), core=True, negated=negated)
    family = value if value in kind.families else next(f for f, values in kind.families.items() if value in values)
    return Want(name, value, family, core=True, negated=negated)


QUESTIONS = _questions()
GOALS = _goals()
