"""Data whose truth is known: generators that plant what a method is to find."""

from unweave.worlds.correlated import World as World
from unweave.worlds.correlated import world as world
from unweave.worlds.exclusive import ExclusiveWorld as ExclusiveWorld
from unweave.worlds.exclusive import ToyModel as ToyModel
from unweave.worlds.exclusive import energy_purity as energy_purity
from unweave.worlds.exclusive import exclusive_world as exclusive_world
from unweave.worlds.exclusive import toy_rows as toy_rows
from unweave.worlds.exclusive import train_toys as train_toys
from unweave.worlds.planted import Planted as Planted
from unweave.worlds.planted import planted as planted
from unweave.worlds.saelens_worlds import load_saelens_world as load_saelens_world
from unweave.worlds.saelens_worlds import save_saelens_world as save_saelens_world
