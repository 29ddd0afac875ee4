"""Text: documentation inside installed packages, recall documents and question-answer pairs over them."""
