"""A language model that judges: what LREF, TaoSR1 and every later judge share.

llm       settings, backbone, words, prompts and grammar as one thing: pairs in, chances of grades out
prompts   what it reads          grammar   what it writes
reasoned  a judge that writes its reasoning before its grade
course    one fit: stages in turn    measured  how well a judge does, and whether it believes its own reasoning
serving   the fitted stage
"""
