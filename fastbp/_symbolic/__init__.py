"""From a user's scalar function to the text of its value and derivatives."""
