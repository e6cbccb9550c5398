"""What is copied into an entry's version folder to run there: our own Python, and the package `tokenizers`."""
