"""Finding out what lies in a store, and which samples are made of it: manifests of originals that stay where they are."""
