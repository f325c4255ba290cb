"""Methods that judge whether an item answers a query.  One public file (or folder) is one method; they stand on:

_pairs _scale _tiers _verdicts  judged pairs; the grades; from chances to one grade; the two verdicts behind a grade
_item_texts                     an item as a judge reads it
_serving                        what every stage does when it serves
_stages                         a fit of several stages that goes on after a kill
_judge/                         a language model that judges
_writers/                       who writes the reasoning that it learns from
"""
