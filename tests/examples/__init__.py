"""The examples: what each of them says is checked."""
