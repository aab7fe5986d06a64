"""Data whose truth is known: generators that plant what a method is to find."""

from unweave.worlds.planted import Planted as Planted
from unweave.worlds.planted import planted as planted
