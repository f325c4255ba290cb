"""From a file as a shop has it to tables: formats, column names, prices, attributes, quarantine; events and judgments too."""
