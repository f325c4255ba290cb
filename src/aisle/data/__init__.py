"""The shop on disk and in memory: readers, catalogue, events, judgments, views, splits, public sets."""
