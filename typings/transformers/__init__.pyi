# What pyright reads instead of transformers: that package lists hundreds of models, whose files it would open one by
# one, which takes minutes, and only a few names of it are used here.
from typing import Any

def __getattr__(name: str) -> Any: ...
