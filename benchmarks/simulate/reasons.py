"""Prints queries of the default world with graded items and the reason of each grade, for a person to read.

python benchmarks/simulate/reasons.py --queries 50
"""

from __future__ import annotations

import argparse

import numpy as np

from aisle.simulate.grades.rules import GRADES
from aisle.simulate.language.queries import Query
from aisle.simulate.lexical import best
from aisle.simulate.world import World


def chosen(world: World, query: Query) -> list[int]:
    """One item of each grade that there is, the one that the words fit best."""
    grade = world.grades(query)
    score = world.bm25.score(query.text) + world.bm25.score(query.canonical) + 0.01
    found = [best(np.where(grade == g, score, 0.0), 1) for g in (4, 3, 2, 1)]
    return [int(rows[0]) for rows in found if len(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--items", type=int, default=2500)
    parser.add_argument("--world", default="default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    world = World.make(args.items, args.seed, args.world)
    print(f"world {world.version}")
    for query in world.queries(args.queries):
        by = "rule table" if world.ruled(query) else "latent utility"
        print(f"\n{query.text!r}  ({query.kind}; {', '.join(query.changes) or 'as sellers write'}; graded by {by})")
        for row in chosen(world, query):
            grade = int(world.grades(query, np.array([row]))[0])
            said = world.steps(query, row)
            shown = world.items.slice(row, 1).to_pylist()[0]
            print(f"  {grade} {GRADES[grade]:10} {shown['title']}  [{shown['price_cents'] / 100:g}]")
            print(f"      asked: {said.query} | is: {said.item}")
            print(f"      category {said.category} | attribute {said.attribute}")
            if world.ruled(query):
                print(f"      {said.verdict}")


if __name__ == "__main__":
    main()
