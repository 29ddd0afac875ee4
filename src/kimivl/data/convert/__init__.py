"""Records in the forms that others use, as records of ours."""
