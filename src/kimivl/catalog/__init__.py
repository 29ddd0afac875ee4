"""Dataset versions, their statistics, and a page to look at samples."""
