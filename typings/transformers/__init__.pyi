# What pyright reads instead of transformers: that package lists hundreds of models, whose files it would all open (minutes),
# and nothing of them is used here but a few names.
from typing import Any

def __getattr__(name: str) -> Any: ...
