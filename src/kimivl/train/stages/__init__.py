"""The stages: each is only its data (in the recipe), its loss, and what trains."""
