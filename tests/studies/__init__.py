"""The studies: what each of them says is checked."""
