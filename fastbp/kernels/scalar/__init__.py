"""v, v', v'' and losses over runs of numbers."""
