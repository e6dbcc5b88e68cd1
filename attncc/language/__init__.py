"""The language front end: errors with places, the syntax tree, the parser and the formatter."""
