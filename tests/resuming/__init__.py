"""Training that is killed and goes on."""
