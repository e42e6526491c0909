"""Checks of the exercises of notebook 4.7."""

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.number_exercise import NumberExercise

__all__: list[str] = []

EXERCISES: tuple[Component, ...] = ()
NUMBER_EXERCISES: tuple[NumberExercise, ...] = ()
