"""The steps of a study, one a file, each a function from `Work` to `Found`; `order` lists them."""
