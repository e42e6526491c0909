"""The words of the notebooks that tests and tools look for.

A translation of the notebooks changes them here too: a heading or a lead word that is
translated in the notebooks alone would be missing for them.
"""

# The notebooks of the course, in its order: file name without its end, and title.
TITLES = {
    "4.1_llm_architecture": "Coding an LLM architecture",
    "4.2_layer_normalization": "Normalizing activations with layer normalization",
    "4.3_feed_forward": "A feed-forward network with GELU activations",
    "4.4_shortcut_connections": "Adding shortcut connections",
    "4.5_transformer_block": "Connecting attention and linear layers",
    "4.6_gpt_model": "Coding the GPT model",
    "4.7_text_generation": "Generating text",
}
LEAD_WORDS = ("You will build", "You need", "Time")  # in the first cell, in bold type

# The headings of the second level at the end of each notebook, in their order.
CHECK, BUG_HUNT, EXERCISES, RECAP = "Check it", "Bug hunt", "Exercises", "Recap"

EXERCISE = "Exercise"  # a heading of the third level: ### Exercise 1: ...
HINT, SOLUTION = "Hint", "Solution"  # what is folded away

# What the edition for students says of a hint and a solution, as it has no solution.
HINT_AND_SOLUTION, HINT_ALONE = "a hint and a solution", "a hint"
